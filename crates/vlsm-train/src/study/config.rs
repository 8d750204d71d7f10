//! From a study's file to its cells.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};
use vlsm_data::{PromptChoice, pool_names};
use vlsm_models::{MethodConfig, Profile};

use super::file::{Parsed, read_file};
use super::folds::take_folds;
use super::{Cell, Entry, Study};
use crate::error::Result;
use crate::evaluate::file_name;
use crate::recipe::{self, Recipe};
use crate::run_folder::RunFolder;

/// The keys of the file itself.
const KEYS: [&str; 7] = [
    "out", "seeds", "prompts", "recipe", "model", "method", "data",
];

/// The axes that have entries, outermost first.
const AXES: [&str; 3] = ["data", "model", "method"];

/// The file. Entries stay tables, since they hold keys of a recipe.
#[derive(Deserialize)]
struct File {
    out: Option<PathBuf>,
    seeds: Vec<u64>,
    #[serde(default)]
    prompts: Vec<PromptChoice>,
    #[serde(default)]
    recipe: Table,
    #[serde(default)]
    model: Vec<Table>,
    #[serde(default)]
    method: Vec<Table>,
    #[serde(default)]
    data: Vec<Table>,
}

/// An entry of an axis: a name, and the recipe keys that it sets.
struct Part {
    entry: Entry,
    /// The models that a method is restricted to; `None` for all.
    models: Option<Vec<String>>,
    keys: Table,
}

impl Study {
    /// Reads a study and applies overrides of the form `key=value`: a key of the file (`seeds=[41]`), of the shared recipe
    /// (`recipe.trainer.epochs=2`), or of an entry by its name (`data.kvasir.data.root=PATH`).
    ///
    /// # Errors
    /// If the file is not a study. The error names the entry, the key and, for an unknown key, the most similar known one.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        read_file(path, |text, name| Self::parse(text, name, overrides))
    }

    /// Parses a study with the given name like [`read`](Self::read).
    ///
    /// # Errors
    /// A message that names the key.
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Parsed<Self> {
        let mut table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        for text in overrides {
            set(&mut table, text)?;
        }
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(match recipe::expect_known(&wrapped(&table, key)) {
                // A section of a recipe that belongs in the shared recipe.
                Ok(()) => format!(
                    "`{key}` is a key of recipes; write it as `recipe.{key}`, in the section `[recipe]`"
                ),
                Err(_) => recipe::unknown(key, &KEYS),
            });
        }
        let file: File = serde_path_to_error::deserialize(Value::Table(table))
            .map_err(|error| format!("`{}`: {}", error.path(), error.inner().message()))?;
        expect_seeds(&file.seeds)?;
        distinct("prompts", &file.prompts)?;
        expect_recipe("[recipe]", &file.recipe, &file)?;
        let [data, models, methods] = [
            ("data", &file.data),
            ("model", &file.model),
            ("method", &file.method),
        ]
        .map(|(axis, tables)| parts(axis, tables, &file));
        let (data, models, methods) = (data?, models?, methods?);
        for method in &methods {
            for name in method.models.iter().flatten() {
                if !models.iter().any(|model| model.entry.name == *name) {
                    let names: Vec<&str> = models.iter().map(|model| &*model.entry.name).collect();
                    let message = recipe::unknown(name, &names);
                    let method = &method.entry.name;
                    return Err(format!("[[method]] {method}: `models`: {message}"));
                }
            }
        }
        let out = file.out.clone();
        let out = out.unwrap_or_else(|| PathBuf::from("runs").join(name));
        let mut cells = Vec::new();
        for data in &data {
            for model in &models {
                for method in &methods {
                    let names = method.models.as_ref();
                    if names.is_none_or(|names| names.contains(&model.entry.name)) {
                        cells.extend(grid(&file, &out, [data, model, method])?);
                    }
                }
            }
        }
        let study = Self {
            name: name.to_owned(),
            out,
            data: data.into_iter().map(|part| part.entry).collect(),
            models: models.into_iter().map(|part| part.entry).collect(),
            methods: methods.into_iter().map(|part| part.entry).collect(),
            seeds: file.seeds,
            cells,
        };
        study.expect_one_profile()?;
        Ok(study)
    }

    /// Refuses a study of both profiles, since their scores must not be in one table.
    fn expect_one_profile(&self) -> Parsed<()> {
        let profile = |cell: &Cell| cell.recipe.method.config.profile();
        let find = |wanted| self.cells.iter().find(|cell| profile(cell) == wanted);
        match (find(Profile::Paper), find(Profile::Default)) {
            (Some(paper), Some(default)) => Err(format!(
                "`{}` has profile `paper` and `{}` has `default`, whose scores must not be in one table; set \
                 `method.profile` in `[recipe]`, or make two studies",
                paper.label(),
                default.label()
            )),
            _ => Ok(()),
        }
    }
}

/// A section of a table as a table.
fn wrapped(table: &Table, key: &str) -> Table {
    let value = table.get(key).cloned();
    value
        .map(|value| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// Applies one `key=value`. Entries are addressed by their names.
pub(super) fn set(table: &mut Table, text: &str) -> Parsed<()> {
    let mut words = text.splitn(3, '.');
    let (Some(axis), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return recipe::set(table, text);
    };
    if !AXES.contains(&axis) || name.contains('=') {
        return recipe::set(table, text);
    }
    let entries = table.get_mut(axis).and_then(Value::as_array_mut);
    let mut entries = entries
        .into_iter()
        .flatten()
        .filter_map(Value::as_table_mut);
    let of_name = |entry: &&mut Table| entry.get("name").and_then(Value::as_str) == Some(name);
    match entries.find(of_name) {
        Some(entry) => recipe::set(entry, rest),
        None => Err(format!(
            "--set {text}: there is no [[{axis}]] named `{name}`"
        )),
    }
}

/// Refuses no seed, or one that is given twice.
pub(super) fn expect_seeds(seeds: &[u64]) -> Parsed<()> {
    distinct("seeds", seeds)?;
    match seeds {
        [] => Err("`seeds` is empty; give at least one, such as `seeds = [41, 42, 43]`".into()),
        _ => Ok(()),
    }
}

/// Refuses a list that has a value twice.
fn distinct<T: PartialEq + std::fmt::Display>(key: &str, values: &[T]) -> Parsed<()> {
    for (index, value) in values.iter().enumerate() {
        if values[..index].contains(value) {
            return Err(format!("`{key}` has {value} twice; remove one of them"));
        }
    }
    Ok(())
}

/// Refuses unknown recipe keys, and those that the study sets itself.
fn expect_recipe(location: &str, keys: &Table, file: &File) -> Parsed<()> {
    let error = |message: &str| Err(format!("{location}: {message}"));
    recipe::expect_known(keys).map_err(|message| format!("{location}: {message}"))?;
    let has = |section: &str, key: &str| {
        let section = keys.get(section).and_then(Value::as_table);
        section.is_some_and(|section| section.contains_key(key))
    };
    if has("trainer", "seed") {
        return error("`trainer.seed` is set by the study's `seeds`; remove it");
    }
    if has("data", "prompt") && !file.prompts.is_empty() {
        return error("`data.prompt` is set by the study's `prompts`; remove one of them");
    }
    Ok(())
}

/// The entries of an axis.
fn parts(axis: &str, tables: &[Table], file: &File) -> Parsed<Vec<Part>> {
    let parts = entries(axis, tables)?.into_iter().map(|(entry, mut keys)| {
        let name = &entry.name;
        let models =
            match keys.remove("models") {
                Some(models) if axis == "method" => {
                    let models = models.try_into();
                    Some(models.map_err(|_| {
                        format!("[[{axis}]] {name}: `models` is not a list of names")
                    })?)
                }
                Some(models) => {
                    // Reported like any other unknown key.
                    keys.insert("models".into(), models);
                    None
                }
                None => None,
            };
        expect_recipe(&format!("[[{axis}]] {name}"), &keys, file)?;
        Ok(Part {
            entry,
            models,
            keys,
        })
    });
    parts.collect()
}

/// The names of an axis's entries, and their other keys.
pub(super) fn entries(axis: &str, tables: &[Table]) -> Parsed<Vec<(Entry, Table)>> {
    let mut entries: Vec<(Entry, Table)> = Vec::with_capacity(tables.len());
    for (index, table) in tables.iter().enumerate() {
        let number = format!("[[{axis}]] {}", index + 1);
        let (entry, keys) = entry(&number, table.clone())?;
        let name = entry.name.to_lowercase();
        if entries
            .iter()
            .any(|(other, _)| other.name.to_lowercase() == name)
        {
            return Err(format!(
                "{number}: the name `{name}` is taken; choose another"
            ));
        }
        entries.push((entry, keys));
    }
    if entries.is_empty() {
        return Err(format!("there is no `[[{axis}]]`; give at least one"));
    }
    Ok(entries)
}

fn entry(number: &str, mut keys: Table) -> Parsed<(Entry, Table)> {
    let mut text = |key: &str| match keys.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{number}: `{key}` is not a string")),
    };
    let name = text("name")?.ok_or_else(|| format!("{number}: `name` is missing"))?;
    let title = text("title")?.unwrap_or_else(|| name.clone());
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!(
            "{number}: the name `{name}` is also a folder's name; use only letters, digits, `_` and `-`, and put other \
             words into `title`"
        ));
    }
    Ok((Entry { name, title }, keys))
}

/// Replaces the values that `over` sets.
fn merge_over(table: &mut Table, over: &Table) {
    for (key, value) in over {
        match (table.get_mut(key), value) {
            (Some(Value::Table(table)), Value::Table(value)) => merge_over(table, value),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

/// Like [`merge_over`], for recipes: `data.pool` and `data.root` replace each other.
fn merge_recipe_over(table: &mut Table, over: &Table) {
    let sets = |key: &str| {
        let data = over.get("data").and_then(Value::as_table);
        data.is_some_and(|data| data.contains_key(key))
    };
    for (key, other) in recipe::EITHER {
        let data = table.get_mut("data").and_then(Value::as_table_mut);
        if let Some(data) = data.filter(|_| sets(key) && !sets(other)) {
            data.remove(other);
        }
    }
    merge_over(table, over);
}

/// All prompts, folds and seeds of a data set, a model and a method.
fn grid(file: &File, out: &Path, parts: [&Part; 3]) -> Parsed<Vec<Cell>> {
    let [data, model, method] = parts.map(|part| part.entry.name.clone());
    let label = format!("{data}/{model}/{method}");
    let in_cell = |message: String| format!("{label}: {message}");
    let mut shared = file.recipe.clone();
    // The data set's keys override all others, such as more epochs for a small data set.
    for part in [parts[1], parts[2], parts[0]] {
        merge_recipe_over(&mut shared, &part.keys);
    }
    // Shared keys of `[recipe.method]` apply to the kinds that have them; keys of an entry must be those of its kind.
    let own = parts[2].keys.get("method").and_then(Value::as_table);
    recipe::drop_foreign_keys(&mut shared, |key| {
        own.is_some_and(|own| own.contains_key(key))
    });
    let folds = take_folds(&mut shared).map_err(in_cell)?;
    let recipe = Recipe::from_table(shared).map_err(in_cell)?;
    if !recipe.trainer.test {
        return Err(in_cell(
            "`trainer.test` is false, but a study reports results on the test split; remove it"
                .into(),
        ));
    }
    let members =
        pool_names(&recipe.data.config.pool).map_err(|error| in_cell(error.to_string()))?;
    let prompts = if file.prompts.is_empty() {
        vec![recipe.data.config.prompt.clone()]
    } else {
        file.prompts.clone()
    };
    let measured = matches!(recipe.method.config, MethodConfig::ZeroShot(_));
    let seeds: Vec<Option<u64>> = if measured {
        vec![None]
    } else {
        file.seeds.iter().copied().map(Some).collect()
    };
    let mut cells: Vec<Cell> = Vec::new();
    for (prompt, fold) in prompts
        .iter()
        .flat_map(|prompt| folds.iter().map(move |fold| (prompt, *fold)))
    {
        for seed in &seeds {
            let mut recipe = recipe.clone();
            let config = &mut recipe.data.config;
            config.split.fold = fold.or(config.split.fold);
            config.prompt = prompt.clone();
            if config.eval_prompt.is_none() && *prompt != PromptChoice::Random {
                config.eval_prompt = Some(prompt.clone());
            }
            recipe.trainer.seed = seed.unwrap_or(recipe.trainer.seed);
            let mut path = out.join("runs").join(&data).join(&model).join(&method);
            path.push(file_name(&prompt.to_string()));
            path.extend(fold.map(|fold| format!("fold{fold}")));
            path.extend(seed.map(|seed| format!("seed{seed}")));
            if cells.iter().any(|cell| cell.folder.path == path) {
                return Err(format!(
                    "`prompts`: `{prompt}` and another prompt would both use the folder `{}`; reword one of them",
                    path.display()
                ));
            }
            cells.push(Cell {
                data: data.clone(),
                model: model.clone(),
                method: method.clone(),
                prompt: prompt.to_string(),
                fold,
                seed: *seed,
                members: members.clone(),
                recipe,
                folder: RunFolder { path },
            });
        }
    }
    Ok(cells)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
