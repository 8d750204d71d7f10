//! The folds of a cross-validation, which a study lists as `data.split.fold = [1, 2, 3, 4, 5]`.

use toml::{Table, Value};

/// Removes a list of folds from a recipe's keys. Without a list it is `None` alone, so that the recipe's own key decides.
pub(super) fn take_folds(keys: &mut Table) -> Result<Vec<Option<usize>>, String> {
    let split = keys
        .get_mut("data")
        .and_then(|data| data.get_mut("split"))
        .and_then(Value::as_table_mut);
    let Some(split) = split.filter(|split| split.get("fold").is_some_and(Value::is_array)) else {
        return Ok(vec![None]);
    };
    let Some(count) = split.get("folds").and_then(Value::as_integer) else {
        return Err("`data.split.fold` is a list, but `data.split.folds` is not set; set it to the number of folds".into());
    };
    let folds = split.remove("fold").map(Value::try_into::<Vec<i64>>);
    let Some(Ok(folds)) = folds else {
        return Err("`data.split.fold` is not a list of numbers; write `[1, 2, 3, 4, 5]`".into());
    };
    if folds.is_empty() {
        return Err("`data.split.fold` is empty; give at least one fold".into());
    }
    for (index, fold) in folds.iter().enumerate() {
        if !(1..=count).contains(fold) {
            return Err(format!(
                "`data.split.fold` has {fold}; use folds from 1 to {count}"
            ));
        }
        if folds[..index].contains(fold) {
            return Err(format!(
                "`data.split.fold` has {fold} twice; remove one of them"
            ));
        }
    }
    let number = |fold| usize::try_from(fold).ok();
    Ok(folds.into_iter().map(number).collect())
}
