//! Negative queries: names that are close to a class and wrong.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Result, TrainError};

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
    /// Base classes, with the negatives of a JSON file (`{"class": ["wrong name", ...]}`), if there is one. `novel` are names that
    /// training must not see.
    ///
    /// # Errors
    /// If the file is malformed, names a class that there is not, or has a negative that is a class.
    pub(super) fn new(base: Vec<String>, novel: &[String], file: Option<&Path>) -> Result<Self> {
        let mut queries = Self {
            classes: base.len(),
            texts: base,
            owners: Vec::new(),
        };
        if let Some(path) = file {
            let lists: BTreeMap<String, Vec<String>> = vlsm_image::read_json(path)?;
            queries
                .add(lists, novel)
                .map_err(|message| TrainError::Recipe {
                    path: path.into(),
                    message,
                })?;
        }
        Ok(queries)
    }

    fn add(
        &mut self,
        lists: BTreeMap<String, Vec<String>>,
        novel: &[String],
    ) -> std::result::Result<(), String> {
        let key = |name: &str| name.trim().to_lowercase();
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
        let mut queries = Queries::new(base, &[], None).unwrap();
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
