//! The section `[method]`, whose keys depend on `method.kind`.

use toml::{Table, Value};
use vlsm_models::MethodConfig;

/// The section, if there is one.
fn section(table: &mut Table) -> Option<&mut Table> {
    table.get_mut("method")?.as_table_mut()
}

/// Adds the keys of all kinds to a recipe's table.
pub(super) fn add_every_key(table: &mut Table) {
    if let Some(method) = section(table) {
        let keys = MethodConfig::all_keys().into_iter();
        method.extend(keys.map(|key| (key.to_owned(), Value::Boolean(true))));
    }
}

/// Drops the keys that the section's kind does not have but other kinds do, unless `keep` returns true. A recipe for several kinds
/// can so set keys that only some of them have.
pub(crate) fn drop_foreign_keys(table: &mut Table, keep: impl Fn(&str) -> bool) {
    let Some(method) = section(table) else {
        return;
    };
    let kind = method.get("kind").and_then(Value::as_str);
    let kind = kind.unwrap_or("dense").to_owned();
    method.retain(|key, _| {
        let kinds = MethodConfig::kinds_with(key);
        kinds.is_empty() || kinds.contains(&&*kind) || keep(key)
    });
}

/// Sets the learning rate that suits the section's kind, unless the recipe has one: the published rates of adapters and decoder, and
/// for `full` a hundredth of them, since more would overwrite pretrained towers within a few hundred steps.
pub(super) fn set_learning_rate(table: &mut Table) {
    let kind = section(table).and_then(|method| method.get("kind")?.as_str());
    let lr = match kind {
        Some("full") => 1e-5,
        Some("shallow") => 3e-4,
        _ => return,
    };
    let optim = table
        .entry("optim")
        .or_insert_with(|| Value::Table(Table::new()));
    if let Some(optim) = optim.as_table_mut() {
        optim.entry("lr").or_insert(Value::Float(lr));
    }
}

/// If `overrides` (`key=value`) choose another kind of method, drops the file's keys that this kind does not have.
pub(super) fn follow_kind(table: &mut Table, overrides: &[String]) {
    let keys = overrides.iter().filter_map(|text| text.split_once('='));
    let set: Vec<&str> = keys.map(|(key, _)| key.trim()).collect();
    if set.contains(&"method.kind") {
        drop_foreign_keys(table, |key| set.contains(&&*format!("method.{key}")));
    }
}

/// Reads the section by itself, so that an error names its key.
pub(super) fn check(table: &Table) -> Result<(), String> {
    let Some(Value::Table(method)) = table.get("method") else {
        return Ok(());
    };
    let keys = serde_json::to_value(method).map_err(|error| format!("`method`: {error}"))?;
    let serde_json::Value::Object(mut keys) = keys else {
        return Ok(());
    };
    if let Some(path) = keys.remove("init_from")
        && !path.is_string()
    {
        return Err("`method.init_from`: expected the path of an adapter file".into());
    }
    match MethodConfig::read(keys) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.within("method").to_string()),
    }
}
