//! The keys of recipes as TOML: listing, setting and finding them.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Recipe;
use super::method::add_every_key;
use crate::error::Result;

/// The recipe with every optional key set, from which the known keys are read.
fn every_key() -> Result<toml::Table> {
    let mut recipe = Recipe::default();
    let path = || Some(PathBuf::from("x"));
    recipe.model.image_size = Some(1);
    recipe.method.init_from = path();
    recipe.data.eval_limit = Some(1);
    let data = &mut recipe.data.config;
    data.pool = vec![PathBuf::new()];
    data.eval_prompt = Some(vlsm_data::PromptChoice::Named("p1".into()));
    data.prompts = path();
    data.class = Some("x".into());
    data.classes = path();
    data.window = Some([0, 1]);
    data.accept = vec![vlsm_data::FindingKind::Inverted];
    data.group = Some("x".into());
    data.split.folds = Some(2);
    data.split.fold = Some(1);
    data.limit = Some(1);
    data.workers = Some(1);
    data.split.train_list = path();
    data.split.val_list = path();
    data.split.test_list = path();
    recipe.trainer.max_steps = Some(1);
    recipe.trainer.test_prompts = Some(Vec::new());
    recipe.cache.dir = path();
    let mut table = recipe.to_table()?;
    add_every_key(&mut table);
    Ok(table)
}

pub(super) fn keys_of(table: &toml::Table, prefix: &str, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(table) => keys_of(table, &format!("{key}."), keys),
            _ => keys.push(key),
        }
    }
}

/// Refuses a table with a key that no recipe has.
pub(crate) fn expect_known(table: &toml::Table) -> std::result::Result<(), String> {
    let (mut known, mut given) = (Vec::new(), Vec::new());
    let every_key = every_key().map_err(|error| error.to_string())?;
    keys_of(&every_key, "", &mut known);
    keys_of(table, "", &mut given);
    match given.iter().find(|key| !known.contains(key)) {
        Some(key) => Err(unknown(key, &known)),
        None => Ok(()),
    }
}

/// The recipe of a table, or the path of the wrong value and the reason.
pub(super) fn read(table: toml::Table) -> std::result::Result<Recipe, (String, String)> {
    serde_path_to_error::deserialize(toml::Value::Table(table))
        .map_err(|error| (error.path().to_string(), error.inner().message().to_owned()))
}

/// The wrong key of a section, and the reason. For a section with flattened fields serde reports no key, so each key is read
/// alone to find the one that fails.
pub(super) fn within(table: &toml::Table, section: &str) -> Option<(String, String)> {
    let keys = table.get(section)?.as_table()?;
    keys.iter().find_map(|(key, value)| {
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        let alone = toml::Table::from_iter([(section.to_owned(), toml::Value::Table(alone))]);
        let (_, message) = read(alone).err()?;
        Some((format!("{section}.{key}"), message))
    })
}

pub(super) fn get<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let value = table.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        get(value.as_table()?, rest)
    }
}

/// Keys of `[data]` that replace each other.
pub(crate) const EITHER: [(&str, &str); 2] = [("root", "pool"), ("pool", "root")];

/// Applies one `key=value`.
pub(crate) fn set(table: &mut toml::Table, text: &str) -> std::result::Result<(), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("--set {text}: write it as key=value, such as optim.lr=3e-4"))?;
    let (key, value) = (key.trim(), value.trim());
    let value = value_of(key, value)?;
    let mut table = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            for (_, other) in EITHER.iter().filter(|(key, _)| *key == part) {
                table.remove(*other);
            }
            table.insert(part.to_owned(), value);
            return Ok(());
        }
        table = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("--set {text}: `{part}` is not a section"))?;
    }
    Ok(())
}

/// The value of a key, given on the command line: TOML, or else a string.
fn value_of(key: &str, text: &str) -> std::result::Result<toml::Value, String> {
    let string = toml::Value::String(text.to_owned());
    let parsed = format!("x = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("x"));
    let Some(value) = parsed else {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let known = every_key().map_err(|error| error.to_string())?;
        return match get(&known, key) {
            Some(toml::Value::Integer(_)) if number => Err(format!(
                "`{key}` is {text}; give at most {}, the largest integer of TOML",
                i64::MAX
            )),
            _ => Ok(string),
        };
    };
    if value.is_str() {
        return Ok(value);
    }
    // A text may look like a number or a date: `data.root=2024`.
    let known = every_key().map_err(|error| error.to_string())?;
    Ok(match get(&known, key) {
        Some(toml::Value::String(_)) => string,
        _ => value,
    })
}

/// The error for a key that is not among the known ones.
pub(crate) fn unknown(key: &str, known: &[impl AsRef<str>]) -> String {
    let likeness = |known: &str| {
        // A key that only lacks its section is the best match.
        let same_key = known.rsplit('.').next() == Some(key);
        strsim::jaro_winkler(key, known) + f64::from(u8::from(same_key))
    };
    let nearest = known
        .iter()
        .map(AsRef::as_ref)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default();
    format!("unknown key `{key}`; did you mean `{nearest}`?")
}

/// Reads a recipe of which `text` and overrides of the form `key=value` give some keys, and the others are those of the default.
///
/// # Errors
/// A message that names the key.
pub(crate) fn over_default<R: Default + Serialize + DeserializeOwned>(
    text: &str,
    overrides: &[String],
) -> std::result::Result<R, String> {
    let mut given: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.to_string())?;
    for text in overrides {
        set(&mut given, text)?;
    }
    table_over_default(given)
}

/// Like [`over_default`], of a table.
///
/// # Errors
/// A message that names the key.
pub(crate) fn table_over_default<R: Default + Serialize + DeserializeOwned>(
    given: toml::Table,
) -> std::result::Result<R, String> {
    let mut table = toml::Table::try_from(R::default()).map_err(|error| error.to_string())?;
    merge(&mut table, given);
    serde_path_to_error::deserialize(toml::Value::Table(table))
        .map_err(|error| format!("`{}`: {}", error.path(), error.inner().message()))
}

/// Puts the values of `given` over those of `table`. A method's keys depend on its kind, so it is replaced as a whole.
pub(crate) fn merge(table: &mut toml::Table, given: toml::Table) {
    for (key, value) in given {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) if key != "method" => {
                merge(old, new);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
