//! Negative queries: names that are close to a class and wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::error::{Result, TrainError};

/// Where negatives come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Negatives {
    /// A JSON file.
    File(PathBuf),
    /// A language model.
    Endpoint(EndpointNegatives),
}

/// A language model in a server with OpenAI's HTTP interface, which is asked for negatives of each base class before the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointNegatives {
    /// The server's address up to and with the version, as `http://localhost:8080/v1`.
    pub endpoint: String,
    /// The model's name there.
    pub model: String,
    /// Negatives of a class, at most. Default: 8.
    pub count: usize,
    /// The environment variable with the server's key. Default: `OPENAI_API_KEY`.
    pub key_variable: String,
}

// By hand, since serde's error for an untagged enum names no key.
impl<'de> Deserialize<'de> for Negatives {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(path) => Ok(Self::File(path.into())),
            table @ toml::Value::Table(_) => {
                let asked = EndpointNegatives::deserialize(table);
                asked
                    .map(Self::Endpoint)
                    .map_err(|error| de::Error::custom(error.message()))
            }
            _ => Err(de::Error::custom(
                "is neither a file nor a section with `endpoint` and `model`",
            )),
        }
    }
}

impl Default for EndpointNegatives {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            model: String::new(),
            count: 8,
            key_variable: "OPENAI_API_KEY".into(),
        }
    }
}

impl EndpointNegatives {
    /// Checks the values.
    ///
    /// # Errors
    /// A message that names the key.
    pub(super) fn validate(&self) -> std::result::Result<(), String> {
        if self.endpoint.is_empty() {
            return Err(
                "`negatives.endpoint` is not set; give the server's address, as http://localhost:8080/v1"
                    .into(),
            );
        }
        // It would be in the run's recipe.
        if self.endpoint.contains('@') {
            return Err(
                "`negatives.endpoint` has a user's name or password; remove it, and give a key in the environment variable that \
                 `negatives.key_variable` names"
                    .into(),
            );
        }
        if self.model.is_empty() {
            return Err("`negatives.model` is not set; give the model's name on the server".into());
        }
        match self.count {
            1..=100 => Ok(()),
            count => Err(format!(
                "`negatives.count` is {count}; give a number from 1 to 100"
            )),
        }
    }
}

/// What is equal in names that CLIP cannot distinguish.
pub(super) fn key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// The queries of a training: base classes, then negatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queries {
    /// All texts.
    pub(super) texts: Vec<String>,
    /// For each negative the base class that it is a negative of.
    owners: Vec<usize>,
    /// Number of base classes.
    classes: usize,
}

impl Queries {
    /// Base classes without negatives.
    pub(super) fn new(base: Vec<String>) -> Self {
        Self {
            classes: base.len(),
            texts: base,
            owners: Vec::new(),
        }
    }

    /// Adds the negatives of a JSON file, `{"class": ["wrong name", ...]}`. `novel` are names that training must not see.
    ///
    /// # Errors
    /// If the file is malformed, names a class that there is not, or has a negative that is a class.
    pub(super) fn add_file(&mut self, path: &Path, novel: &[String]) -> Result<()> {
        let lists = vlsm_image::read_json(path)?;
        self.add(lists, novel)
            .map_err(|message| TrainError::Recipe {
                path: path.into(),
                message,
            })
    }

    /// Adds lists of negatives of classes.
    ///
    /// # Errors
    /// A message about a list that names a class that there is not, or has a negative that is a class.
    pub(super) fn add(
        &mut self,
        lists: BTreeMap<String, Vec<String>>,
        novel: &[String],
    ) -> std::result::Result<(), String> {
        let base: Vec<String> = self.texts.iter().map(|name| key(name)).collect();
        let novel: Vec<String> = novel.iter().map(|name| key(name)).collect();
        let mut seen = BTreeMap::new();
        for (class, negatives) in lists {
            let Some(owner) = base.iter().position(|name| *name == key(&class)) else {
                // A file for all classes serves any split into base and novel ones.
                if novel.contains(&key(&class)) {
                    continue;
                }
                return Err(format!(
                    "negatives of `{class}`, which is no class; the classes are {}",
                    self.texts[..self.classes].join(", ")
                ));
            };
            for negative in negatives {
                let name = key(&negative);
                if name.is_empty() {
                    return Err(format!("`{class}` has an empty negative; remove it"));
                }
                if base.contains(&name) || novel.contains(&name) {
                    return Err(format!(
                        "the negative `{negative}` of `{class}` is itself a class; remove it"
                    ));
                }
                if let Some(other) = seen.insert(name, class.clone()) {
                    return Err(format!(
                        "the negative `{negative}` is named for `{other}` and for `{class}`; remove one of them"
                    ));
                }
                self.texts.push(negative);
                self.owners.push(owner);
            }
        }
        Ok(())
    }

    /// Number of negatives.
    pub(super) fn negatives(&self) -> usize {
        self.owners.len()
    }

    /// Whether a query can be the hard negative of a segment of a class: another class, or a negative of its own class. Those of
    /// other classes can be true of it.
    pub(super) fn is_negative_of(&self, query: usize, class: usize) -> bool {
        match query.checked_sub(self.classes) {
            Some(negative) => self.owners[negative] == class,
            None => query != class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(lists: &[(&str, &[&str])]) -> std::result::Result<Queries, String> {
        let base = ["Car", "Fan"].map(str::to_owned).to_vec();
        let mut queries = Queries::new(base);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let lists = lists.iter();
        let lists = lists.map(|(class, names)| ((*class).to_owned(), owned(names)));
        queries.add(lists.collect(), &["Bus".to_owned()])?;
        Ok(queries)
    }

    #[test]
    fn hard_negatives_are_other_classes_and_those_of_the_class_itself() {
        let found = queries(&[
            ("fan", &["ceiling fan"]),
            ("car", &["toy car"]),
            ("Bus", &["toy"]),
        ]);
        let found = found.unwrap();
        assert_eq!(found.texts, ["Car", "Fan", "toy car", "ceiling fan"]);
        assert_eq!(found.negatives(), 2);
        let of = |class| [0, 1, 2, 3].map(|query| found.is_negative_of(query, class));
        assert_eq!(of(0), [false, true, true, false]);
        assert_eq!(of(1), [true, false, false, true]);
    }

    #[test]
    fn negatives_that_are_wrong_are_named() {
        for (lists, fault) in [
            (&[("Car", &["fan"][..])][..], "fan"),
            (&[("Car", &["bus"])], "bus"),
            (&[("Van", &["bus"])], "Van"),
            (&[("Car", &[" "])], "empty"),
            (&[("Car", &["toy"]), ("Fan", &["Toy"])], "Toy"),
        ] {
            let error = queries(lists).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
    }
}
