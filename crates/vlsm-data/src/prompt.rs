//! Prompts of a sample, and the choice among them.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::error::{DataError, Result};

/// What to do about a sample without prompts.
pub(crate) const NO_PROMPTS_FIX: &str = "set `data.class` to what the masks show, or `data.prompt` to one text for \
                                          all samples, or add prompts for each sample to the annotations or to `data.prompts`";

/// The named prompts of a sample (`p0`, `p1`, ...), in the order of the file. A name has one text or several equivalent
/// ones.
///
/// In JSON this is an object: `{"p0": "", "p1": "polyp", "p7": ["polyp which is a small lump", "polyp which ..."]}`. A
/// name with an empty list or `null` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts(Vec<(String, Vec<String>)>);

impl Prompts {
    /// No prompts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Prompts from equivalent texts without names: `p0` is empty and `p1` has `texts`.
    pub fn from_texts(texts: Vec<String>) -> Self {
        Self(vec![
            ("p0".to_string(), vec![String::new()]),
            ("p1".to_string(), texts),
        ])
    }

    /// Adds a prompt at the end, or replaces the one with that name. Without texts, the name is removed.
    pub fn insert(&mut self, name: impl Into<String>, texts: Vec<String>) {
        let name = name.into();
        match self.0.iter().position(|(known, _)| *known == name) {
            Some(at) if texts.is_empty() => drop(self.0.remove(at)),
            Some(at) => self.0[at].1 = texts,
            None if texts.is_empty() => {}
            None => self.0.push((name, texts)),
        }
    }

    /// The texts of a name, if it exists.
    pub fn get(&self, name: &str) -> Option<&[String]> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, texts)| texts.as_slice())
    }

    /// Names and texts in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0
            .iter()
            .map(|(name, texts)| (name.as_str(), texts.as_slice()))
    }

    /// The names in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there are no prompts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn named(&self, name: &str) -> Result<&[String]> {
        self.get(name).ok_or_else(|| DataError::PromptName {
            sample: "?".to_string(),
            name: name.to_string(),
            available: if self.is_empty() {
                "none".to_string()
            } else {
                self.names().collect::<Vec<_>>().join(", ")
            },
        })
    }
}

impl Serialize for Prompts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, texts)| match texts.as_slice() {
            [one] => (name, Texts::One(one.clone())),
            _ => (name, Texts::Several(texts.clone())),
        }))
    }
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Prompts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of prompts, each a string or a list of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Prompts, A::Error> {
                let mut prompts = Prompts::new();
                while let Some((name, texts)) = map.next_entry::<String, Option<Texts>>()? {
                    prompts.insert(name, texts.map(Texts::into_vec).unwrap_or_default());
                }
                Ok(prompts)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A string or a list of strings.
#[derive(Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "a prompt must be a string or a list of strings")]
pub(crate) enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }
}

/// The choice of a sample's prompt, for recipe keys `data.prompt` and `data.eval_prompt`.
///
/// Written as text, `p0`, `p1`, ... is a name and `random` is random. Everything else is a prompt for all samples; `text:p1`
/// is the prompt "p1".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptChoice {
    /// The prompt with this name; a random one if it has several texts.
    Named(String),
    /// A random name except `p0` and an empty first prompt, then a random one of its texts, drawn for each use.
    #[default]
    Random,
    /// This text for all samples.
    Text(String),
}

impl PromptChoice {
    /// The prompt for training on a sample once.
    ///
    /// [`Random`](Self::Random) is uniform over the names, then over the name's texts, as in the published code. A single
    /// name is used even if it is `p0`.
    ///
    /// # Errors
    /// [`DataError::PromptName`] or [`DataError::NoPrompts`] if there is no such prompt.
    /// [`Sample::pick_prompt`](crate::Sample::pick_prompt) adds the sample's name.
    pub fn pick(&self, prompts: &Prompts, rng: &mut impl Rng) -> Result<String> {
        let texts = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Named(name) => prompts.named(name)?,
            Self::Random => {
                let named = prompts.0.iter().enumerate();
                let used = named.filter(|(index, (name, texts))| {
                    let is_empty = *index == 0 && texts.iter().all(String::is_empty);
                    name != "p0" && !is_empty
                });
                let used: Vec<&Vec<String>> = used.map(|(_, (_, texts))| texts).collect();
                match (used.as_slice(), prompts.0.first()) {
                    (_, None) => return Err(no_prompts()),
                    ([], Some((_, only))) => only,
                    // Nothing is drawn where there is nothing else, so that the draws that follow stay as they are.
                    ([only], Some(_)) if prompts.len() == 1 => only,
                    (used, _) => used[draw(used.len(), rng)],
                }
            }
        };
        Ok(match texts {
            [one] => one.clone(),
            several => several[draw(several.len(), rng)].clone(),
        })
    }

    /// The prompt for evaluating a sample, always the same. If it has several texts, the first.
    ///
    /// # Errors
    /// [`DataError::RandomEval`] for [`PromptChoice::Random`], else as [`PromptChoice::pick`].
    pub fn pick_fixed(&self, prompts: &Prompts) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Named(_) if prompts.is_empty() => Err(no_prompts()),
            Self::Named(name) => Ok(prompts.named(name)?[0].clone()),
            Self::Random => Err(DataError::RandomEval),
        }
    }

    /// The choice for evaluation if the recipe has none: `p1`, the class name, or the first name with a text if there is no
    /// `p1`, or the first name. Without prompts it is `p1`, which then gives an error.
    pub fn default_eval(prompts: &Prompts) -> Self {
        let says = |(_, texts): &(&str, &[String])| texts.iter().any(|text| !text.is_empty());
        let name = match prompts.get("p1") {
            Some(_) => "p1",
            None => {
                let first = prompts.iter().find(says).or(prompts.iter().next());
                first.map_or("p1", |(name, _)| name)
            }
        };
        Self::Named(name.to_string())
    }
}

/// A random index below `len`, which is not 0. It is drawn as 32 bits so that all platforms draw the same.
fn draw(len: usize, rng: &mut impl Rng) -> usize {
    rng.random_range(0..u32::try_from(len).unwrap_or(u32::MAX)) as usize
}

fn no_prompts() -> DataError {
    DataError::NoPrompts {
        sample: "?".to_string(),
        origin: String::new(),
        fix: NO_PROMPTS_FIX,
    }
}

impl FromStr for PromptChoice {
    type Err = UnclearChoice;

    fn from_str(text: &str) -> Result<Self, UnclearChoice> {
        if let Some(text) = text.strip_prefix("text:") {
            return Ok(Self::Text(text.to_string()));
        }
        Ok(match text {
            "random" => Self::Random,
            name if is_name(name) => Self::Named(name.to_string()),
            text => {
                let lower = text.trim().to_lowercase();
                if lower == "random" || is_name(&lower) {
                    return Err(UnclearChoice {
                        text: text.to_string(),
                        name: lower,
                    });
                }
                Self::Text(text.to_string())
            }
        })
    }
}

/// A text that may be meant as a name, such as `P1`.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error(
    "`{text}` is unclear; write `{name}` for the prompt of that name, or `text:{text}` for the text itself"
)]
pub struct UnclearChoice {
    text: String,
    /// The name that may be meant.
    name: String,
}

fn is_name(text: &str) -> bool {
    text.strip_prefix('p')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for PromptChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Random => f.write_str("random"),
            Self::Text(text)
                if text.starts_with("text:")
                    || text.parse::<Self>() != Ok(Self::Text(text.clone())) =>
            {
                write!(f, "text:{text}")
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for PromptChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PromptChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "prompt_tests.rs"]
mod tests;
