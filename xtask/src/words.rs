//! Finds words that STYLE.md replaces. `words.toml` has the list, the replacements, and the exceptions with their reasons.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::files;
use crate::lexer::{self, Kind};

const LIST: &str = "words.toml";

/// Extensions of the files that are searched.
const EXTENSIONS: [&str; 8] = ["rs", "md", "toml", "py", "sh", "cff", "yml", "yaml"];

/// `words.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    word: Vec<Word>,
    exempt: Vec<Exempt>,
}

/// A word or phrase to avoid.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    /// Forms, in lower case.
    forms: Vec<String>,
    /// What to write instead.
    write: String,
    /// Phrases that contain a form and are allowed.
    #[serde(default)]
    allow: Vec<String>,
    /// Whether identifiers are searched too, not only comments, strings and documents.
    #[serde(default)]
    identifiers: bool,
}

/// Files in which some words have their plain meaning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exempt {
    /// Start of the path, such as a folder.
    path: String,
    /// The forms; all if empty.
    #[serde(default)]
    forms: Vec<String>,
    /// Reason, for readers of the list.
    #[serde(rename = "reason")]
    _reason: String,
}

/// A use of a word.
struct Hit<'a> {
    line: usize,
    form: &'a str,
    write: &'a str,
}

/// What to do about unwanted words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// Print how often each occurs.
    Count,
    /// Print each use too.
    List,
    /// Print each use, and fail if there is any.
    Deny,
}

/// Reports uses of unwanted words; `false` if there are any and they are denied.
pub(crate) fn check(root: &Path, report: Report) -> Result<bool> {
    let list: List = toml::from_str(&files::read(root, LIST)?).context(LIST)?;
    let mut counts = BTreeMap::new();
    for file in files::tracked(root, &EXTENSIONS)? {
        let exempt: Vec<_> = list
            .exempt
            .iter()
            .filter(|exempt| file.starts_with(&exempt.path))
            .collect();
        if exempt.iter().any(|exempt| exempt.forms.is_empty()) {
            continue;
        }
        let source = files::read(root, &file)?;
        for hit in list.hits(&source, file.ends_with(".rs")) {
            let form = hit.form.to_owned();
            if exempt.iter().any(|exempt| exempt.forms.contains(&form)) {
                continue;
            }
            if report != Report::Count {
                println!("{file}:{}: `{form}`: write {}", hit.line, hit.write);
            }
            *counts.entry(form).or_insert(0) += 1;
        }
    }
    for (form, count) in &counts {
        println!("{count:5} {form}");
    }
    let total: usize = counts.values().sum();
    println!("{total} words to replace; STYLE.md says how, {LIST} lists them");
    Ok(report != Report::Deny || total == 0)
}

impl List {
    /// The uses in a file, by line.
    fn hits(&self, source: &str, rust: bool) -> Vec<Hit<'_>> {
        let (mut text, mut code) = (Vec::new(), Vec::new());
        if rust {
            let mut line = 1;
            for (kind, stretch) in lexer::stretches(source) {
                match kind {
                    Kind::Text => split(stretch, line, &mut text),
                    Kind::Code => split(stretch, line, &mut code),
                }
                line += stretch.matches('\n').count();
            }
        } else {
            split(source, 1, &mut text);
        }
        let mut hits = Vec::new();
        for word in &self.word {
            word.hits(&text, &mut hits);
            if word.identifiers {
                word.hits(&code, &mut hits);
            }
        }
        hits.sort_by_key(|hit| hit.line);
        hits
    }
}

impl Word {
    fn hits<'a>(&'a self, words: &[(usize, String)], hits: &mut Vec<Hit<'a>>) {
        let found = |phrase: &str, at: usize| {
            let mut wanted = phrase.split(' ').enumerate();
            wanted.all(|(n, wanted)| words.get(at + n).is_some_and(|(_, word)| word == wanted))
        };
        for (at, (line, _)) in words.iter().enumerate() {
            let Some(form) = self.forms.iter().find(|form| found(form, at)) else {
                continue;
            };
            let first = form.split(' ').next().unwrap_or(form);
            let allowed = self.allow.iter().any(|phrase| {
                let mut offsets = phrase.split(' ').enumerate();
                offsets.any(|(n, word)| word == first && n <= at && found(phrase, at - n))
            });
            if !allowed {
                hits.push(Hit {
                    line: *line,
                    form,
                    write: &self.write,
                });
            }
        }
    }
}

/// Adds the words of a text in lower case, with their lines. `snake_case` and `CamelCase` are split.
fn split(text: &str, first: usize, words: &mut Vec<(usize, String)>) {
    let mut line = first;
    let mut word = String::new();
    let mut before = ' ';
    for c in text.chars().chain([' ']) {
        let ends = !c.is_alphanumeric() || before.is_lowercase() && c.is_uppercase();
        if ends && !word.is_empty() {
            words.push((line, std::mem::take(&mut word)));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        line += usize::from(c == '\n');
        before = c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        toml::from_str(
            "[[word]]\nforms = [\"place\"]\nwrite = \"index\"\nallow = [\"in place\"]\n\
             [[word]]\nforms = [\"anew\"]\nwrite = \"again\"\nidentifiers = true\n\
             [[word]]\nforms = [\"gone on with\"]\nwrite = \"continued\"\n\
             [[exempt]]\npath = \"x\"\nreason = \"test\"\n",
        )
        .unwrap()
    }

    fn found(source: &str, rust: bool) -> Vec<(usize, String)> {
        let list = list();
        let hits = list.hits(source, rust);
        hits.iter()
            .map(|hit| (hit.line, hit.form.to_owned()))
            .collect()
    }

    #[test]
    fn text_is_searched_and_allowed_phrases_are_not_reported() {
        let source =
            "// in\n// place\n// the place\nlet place = 1;\nfn draws_anew() {} // gone on with\n";
        let expected = [(3, "place"), (5, "anew"), (5, "gone on with")];
        let expected = expected.map(|(line, form)| (line, form.to_owned()));
        assert_eq!(found(source, true), expected);
    }

    #[test]
    fn documents_are_all_text() {
        assert_eq!(found("A place.", false), [(1, "place".to_owned())]);
        assert!(found("It works in place.", false).is_empty());
    }
}
