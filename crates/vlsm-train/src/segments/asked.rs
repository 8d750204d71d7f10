//! Negatives from a language model in a server. Its answers are kept in the run's folder, and an interrupted run asks no question
//! twice.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vlsm_image::{read_json, write_atomic_bytes};
use vlsm_language::{Endpoint, EndpointConfig, LanguageError};

use super::negatives::{EndpointNegatives, key};
use crate::error::{Result, TrainError};
use crate::observer::Observer;
use crate::run_folder::RunFolder;

/// Words of the longest name, such as "side of a parked car".
const WORDS: usize = 5;
/// Characters of the longest name.
const LETTERS: usize = 60;
/// What separates a name from its explanation in a list of lines.
const EXPLANATIONS: [&str; 5] = [": ", " - ", " – ", " — ", " ("];

/// What became of the answers of a language model that was asked for negatives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedNegatives {
    /// The language model.
    pub model: String,
    /// Number of classes that it was asked about: the base classes.
    pub classes: usize,
    /// The classes without a usable negative; the other classes alone are their negatives.
    pub without: Vec<String>,
    /// Names that were left out since they are a class, base or novel.
    pub equal_to_class: usize,
    /// Names that were left out since they are negatives already, of this class or of another.
    pub repeated: usize,
    /// Entries of lists that are no short name.
    pub unusable: usize,
}

/// The file of answers.
#[derive(Serialize, Deserialize)]
struct Kept {
    model: String,
    count: usize,
    answers: BTreeMap<String, KeptAnswer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptAnswer {
    Answer(String),
    /// The server's reason.
    Refused(String),
}

/// The question about a class.
fn prompt(class: &str, count: usize) -> String {
    format!(
        "An image classifier must not mistake other things for \"{class}\". List {count} other things that it could mistake for \
         \"{class}\": things that look alike, and things with a name that is close but means something else, as \"ceiling fan\" is \
         close to \"ceiling\". None of them may be a kind of \"{class}\", a part of it, or another word for it. Answer with a JSON \
         list of {count} short names and nothing else."
    )
}

/// Asks about every base class, unless its answer is in the run's folder. Returns the negatives of each class, which
/// `negatives.json` in that folder holds too, and what became of the answers.
///
/// # Errors
/// If the server does not answer, no answer has a usable negative, answers of a run with a checkpoint are gone, or a file cannot be
/// read or written.
pub(super) fn ask(
    config: &EndpointNegatives,
    folder: &RunFolder,
    base: &[String],
    novel: &[String],
    observer: &mut dyn Observer,
) -> Result<(BTreeMap<String, Vec<String>>, AskedNegatives)> {
    let path = folder.path.join("answers.json");
    let mut kept = read(&path, config)?;
    let missing: Vec<&String> = base
        .iter()
        .filter(|class| !kept.answers.contains_key(*class))
        .collect();
    if !missing.is_empty() && folder.holds_run() {
        return Err(folder.error(format!(
            "answers of `{}` to `{}` and others are missing in `answers.json`, and new ones would change the training; restore the \
             file, or start over in another folder",
            config.model, missing[0]
        )));
    }
    if !missing.is_empty() {
        let endpoint = Endpoint::new(EndpointConfig {
            key: std::env::var(&config.key_variable).ok(),
            ..EndpointConfig::new(&config.endpoint, &config.model)
        })?;
        observer.message(&format!(
            "asking `{}` for negatives of {} classes",
            config.model,
            missing.len()
        ));
        for class in missing {
            let tokens = 64 + 16 * config.count;
            let answer = match endpoint.ask(&prompt(class, config.count), tokens, None) {
                Ok(answer) => KeptAnswer::Answer(answer.text),
                Err(LanguageError::Refused(message)) => KeptAnswer::Refused(message),
                Err(error) => return Err(error.into()),
            };
            kept.answers.insert(class.clone(), answer);
            write(&path, &kept)?;
        }
    }
    let (lists, asked) = lists(&kept, base, novel);
    if lists.is_empty() {
        let first = match base.first().and_then(|class| kept.answers.get(class)) {
            Some(KeptAnswer::Answer(text)) => format!("it answers `{}`", excerpt(text)),
            Some(KeptAnswer::Refused(message)) => message.clone(),
            None => "there is no class to ask about".into(),
        };
        // So that the same command asks again, such as after a repair of the server.
        std::fs::remove_file(&path).map_err(|source| TrainError::Write { path, source })?;
        return Err(folder.error(format!(
            "`negatives.model` `{}` names no usable negative of any class: {first}; choose another model, or set `negatives` to a file",
            config.model
        )));
    }
    write(&folder.path.join("negatives.json"), &lists)?;
    observer.message(&asked.in_words());
    Ok((lists, asked))
}

/// The answers in a run's folder; none if there are none of this model.
fn read(path: &Path, config: &EndpointNegatives) -> Result<Kept> {
    if path.exists() {
        let kept: Kept = read_json(path)?;
        if (&kept.model, kept.count) == (&config.model, config.count) {
            return Ok(kept);
        }
    }
    Ok(Kept {
        model: config.model.clone(),
        count: config.count,
        answers: BTreeMap::new(),
    })
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|error| TrainError::Write {
        path: PathBuf::from(path),
        source: error.into(),
    })?;
    Ok(write_atomic_bytes(path, (json + "\n").as_bytes())?)
}

/// The usable negatives of each class that has some, and what became of the answers.
fn lists(
    kept: &Kept,
    base: &[String],
    novel: &[String],
) -> (BTreeMap<String, Vec<String>>, AskedNegatives) {
    let mut asked = AskedNegatives {
        model: kept.model.clone(),
        classes: base.len(),
        ..AskedNegatives::default()
    };
    let classes: HashSet<String> = base.iter().chain(novel).map(|name| key(name)).collect();
    let (mut lists, mut seen) = (BTreeMap::new(), HashSet::new());
    for class in base {
        let mut list = Vec::new();
        if let Some(KeptAnswer::Answer(text)) = kept.answers.get(class) {
            for entry in entries(text) {
                let Some(name) = short_name(&entry) else {
                    asked.unusable += 1;
                    continue;
                };
                if classes.contains(&key(&name)) {
                    asked.equal_to_class += 1;
                } else if list.len() < kept.count {
                    match seen.insert(key(&name)) {
                        true => list.push(name),
                        false => asked.repeated += 1,
                    }
                }
            }
        }
        match list.is_empty() {
            true => asked.without.push(class.clone()),
            false => drop(lists.insert(class.clone(), list)),
        }
    }
    (lists, asked)
}

/// The entries of the list in an answer: a JSON list, or else lines that begin with a number or a mark. Other text has none.
fn entries(answer: &str) -> Vec<String> {
    // What a model writes down before it answers is no answer.
    let answer = answer.rsplit("</think>").next().unwrap_or(answer);
    let json = answer.find('[').zip(answer.rfind(']'));
    let json = json.and_then(|(start, end)| answer.get(start..=end));
    if let Some(list) = json.and_then(|json| serde_json::from_str(json).ok()) {
        let list: Vec<serde_json::Value> = list;
        return list
            .into_iter()
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect();
    }
    let of_list = |line: &str| {
        let line = line.trim();
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = match rest.len() < line.len() {
            true => rest.strip_prefix(['.', ')', ':']),
            false => rest.strip_prefix(['-', '*', '•']),
        }?;
        // Two asterisks are bold print.
        let rest = rest.strip_prefix(char::is_whitespace)?;
        let end = EXPLANATIONS.iter().filter_map(|mark| rest.find(mark)).min();
        Some(rest[..end.unwrap_or(rest.len())].to_owned())
    };
    answer.lines().filter_map(of_list).collect()
}

/// An entry without quotes, full stop and article; `None` if it is not a short name.
fn short_name(entry: &str) -> Option<String> {
    let marks = |c: char| c.is_whitespace() || "\"'`*_“”‘’.,;:".contains(c);
    let words: Vec<&str> = entry.trim_matches(marks).split_whitespace().collect();
    let article = |word: &&&str| ["a", "an", "the"].contains(&word.to_lowercase().as_str());
    let words = match words.first().as_ref().is_some_and(article) {
        true => &words[1..],
        false => &words[..],
    };
    let name = words.join(" ");
    let usable = (1..=WORDS).contains(&words.len())
        && name.chars().count() <= LETTERS
        && name.chars().any(char::is_alphabetic)
        && !name.contains(|c: char| c.is_control() || "{}[]<>".contains(c));
    usable.then_some(name)
}

/// The start of a text, in one line.
fn excerpt(text: &str) -> String {
    let line: String = text.trim().chars().take(80).collect();
    line.replace(char::is_control, " ")
}

impl AskedNegatives {
    /// In one line.
    pub fn in_words(&self) -> String {
        let mut text = format!(
            "`{}` named negatives of {} of {} classes",
            self.model,
            self.classes - self.without.len(),
            self.classes
        );
        let left_out = [
            (self.equal_to_class, "that are classes"),
            (self.repeated, "that are negatives already"),
            (self.unusable, "that are no short names"),
        ];
        let left_out = left_out.iter().filter(|(count, _)| *count > 0);
        let left_out: Vec<String> = left_out
            .map(|(count, why)| format!("{count} {why}"))
            .collect();
        if !left_out.is_empty() {
            text += &format!("; left out: {}", left_out.join(", "));
        }
        if !self.without.is_empty() {
            text += &format!(
                "; only other classes are negatives of {}",
                self.without.join(", ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_prompt() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/opendas.md");
        let text = std::fs::read_to_string(path).unwrap();
        let quoted: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("> "))
            .collect();
        assert_eq!(quoted.join(" "), prompt("car", 8));
    }

    #[test]
    fn lists_are_read_in_the_forms_that_models_give_them() {
        let expected = ["toy car", "cable car"];
        for answer in [
            "[\"toy car\", \"cable car\"]",
            "Here you are:\n```json\n[\n  \"Toy car\",\n  \"the cable car.\"\n]\n```\nDo you need more?",
            "1. Toy car\n2. Cable car",
            "Sure! Some names:\n\n 1) **toy car**: a small one\n 2) *cable car* (on a rope)\n\nI hope that helps.",
            "- toy car\n- \"cable car\" - hangs on a rope",
            "<think>[\"bus\"] is wrong</think>\n* toy car\n* a cable car",
        ] {
            let names: Vec<String> = entries(answer)
                .iter()
                .filter_map(|e| short_name(e))
                .collect();
            let names: Vec<String> = names.iter().map(|name| key(name)).collect();
            assert_eq!(names, expected, "{answer}");
        }
        for nonsense in ["", "I cannot help with that.", "**Car** 12", "[1, 2", "{}"] {
            assert!(entries(nonsense).is_empty(), "{nonsense}");
        }
        let long = "a vehicle that only looks like a car";
        for entry in [long, " \" ", "42", "the", "<b>car</b>", &"x".repeat(61)] {
            assert_eq!(short_name(entry), None, "{entry}");
        }
    }

    #[test]
    fn names_that_cannot_be_negatives_are_counted() {
        let answers = [
            (
                "Car",
                "[\"toy car\", \"Sign\", \"bus\", 7, \"sky\", \"van\"]",
            ),
            ("Sky", "1. Toy car\n2. ceiling\n3. ceiling"),
            ("Road", "No idea."),
        ];
        let answers = answers.map(|(class, text)| (class.into(), KeptAnswer::Answer(text.into())));
        let mut kept = Kept {
            model: "tiny".into(),
            count: 2,
            answers: answers.into(),
        };
        let refused = KeptAnswer::Refused("too long".into());
        kept.answers.insert("Tree".into(), refused);
        let base = ["Car", "Sky", "Road", "Tree"].map(str::to_owned);
        let (lists, asked) = lists(&kept, &base, &["sign".into()]);
        let of = |class: &str| lists[class].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(
            (of("Car"), of("Sky")),
            (vec!["toy car", "bus"], vec!["ceiling"])
        );
        assert_eq!(lists.len(), 2);
        let expected = AskedNegatives {
            model: "tiny".into(),
            classes: 4,
            without: vec!["Road".into(), "Tree".into()],
            equal_to_class: 2,
            repeated: 2,
            unusable: 1,
        };
        assert_eq!(asked, expected);
        assert_eq!(
            asked.in_words(),
            "`tiny` named negatives of 2 of 4 classes; left out: 2 that are classes, 2 that are negatives already, 1 that are no short \
             names; only other classes are negatives of Road, Tree"
        );
    }
}
