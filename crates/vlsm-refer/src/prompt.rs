//! The published prompt.

use std::fmt::Write;

use crate::candidates::Candidate;
use crate::error::{ReferError, Result};
use crate::geometry::Bbox;

/// What surrounds the prompt's text, as language models were trained with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frame {
    /// Nothing: the text is the user's message, and the server adds the model's own frame.
    #[default]
    Chat,
    /// The published frame of Llama 3, without a line break after its headers.
    Llama3,
    /// That of Mixtral.
    Mixtral,
    /// That of Gemma 2.
    Gemma,
    /// That of models without a chat format, such as GPT-Neo: `Answer:` after the text.
    Plain,
}

impl Frame {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Llama3,
        Self::Mixtral,
        Self::Gemma,
        Self::Plain,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Llama3 => "llama3",
            Self::Mixtral => "mixtral",
            Self::Gemma => "gemma",
            Self::Plain => "plain",
        }
    }

    fn around(self, text: &str) -> String {
        match self {
            Self::Chat => text.to_owned(),
            Self::Llama3 => format!(
                "<|begin_of_text|><|start_header_id|>user<|end_header_id|>{text}<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
            ),
            Self::Mixtral => format!("<s> [INST] {text}\nAnswer: [/INST] "),
            Self::Gemma => {
                format!("<bos><start_of_turn>user\n {text}<end_of_turn>\n<start_of_turn>model\n")
            }
            Self::Plain => format!("{text}\nAnswer:"),
        }
    }
}

impl std::str::FromStr for Frame {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|frame| frame.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join("`, `");
            format!("`{name}` is no frame; there are `{names}`")
        })
    }
}

/// A prompt, and the candidates in the order of its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// For each line of the list, the index of its candidate.
    pub order: Vec<usize>,
}

/// The published prompt for an expression and candidates, listed as they are or in another `order`: a permutation of their
/// indices. Lines have a score if the candidate has one. With two detectors each has its lines one after another.
///
/// # Errors
/// If there are more than two detectors, or `order` is none.
pub fn prompt(
    expression: &str,
    candidates: &[Candidate],
    order: Option<&[usize]>,
    frame: Frame,
) -> Result<Prompt> {
    let mut detectors: Vec<Option<&str>> = Vec::new();
    for candidate in candidates {
        let detector = candidate.detector.as_deref();
        if !detectors.contains(&detector) {
            detectors.push(detector);
        }
    }
    let two = match detectors[..] {
        [] | [_] => false,
        [Some(_), Some(_)] => true,
        [None, _] | [_, None] => {
            return Err(ReferError::Candidates(
                "some name their detector and some do not; name it for all or for none".into(),
            ));
        }
        _ => {
            return Err(ReferError::Candidates(format!(
                "they come from {} detectors; the prompt has space for two",
                detectors.len()
            )));
        }
    };
    let given: Vec<usize> = match order {
        Some(order) => order.to_vec(),
        None => (0..candidates.len()).collect(),
    };
    let of_detector = |detector: &Option<&str>| -> Vec<usize> {
        let all = given.iter().copied();
        all.filter(|at| {
            let candidate = candidates.get(*at);
            candidate.is_some_and(|candidate| candidate.detector.as_deref() == *detector)
        })
        .collect()
    };
    let groups: Vec<Vec<usize>> = detectors.iter().map(of_detector).collect();
    let order: Vec<usize> = groups.concat();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..candidates.len()).collect::<Vec<_>>() {
        return Err(ReferError::Candidates(
            "`order` is not a permutation of them".into(),
        ));
    }

    let mut text =
        "You are a helpful AI assistant, capable of understanding spatial information.".to_owned();
    match two {
        true => text += "\nIn an image, I got boxes from two object detectors:",
        false => {
            let _ = write!(text, "\nIn an image, there are {} boxes:", candidates.len());
        }
    }
    let mut line = 0;
    for group in groups {
        for candidate in group.iter().filter_map(|at| candidates.get(*at)) {
            text += &listed(candidate, line, two);
            line += 1;
        }
        // The last line ends with a full stop instead of its comma.
        text.truncate(text.trim_end_matches(',').len());
        text.push('.');
    }
    let _ = write!(
        text,
        "\nWhich box is best matching '{expression}' ? Answer with just the index of the best box. No explanation."
    );
    Ok(Prompt {
        text: frame.around(&text),
        order,
    })
}

/// A candidate's line.
fn listed(candidate: &Candidate, line: usize, two: bool) -> String {
    let Candidate { label, .. } = candidate;
    let mut text = match (two, &candidate.detector) {
        (true, Some(detector)) => format!("\n* Box {line}: {detector} found '{label}'"),
        _ => format!("\n* In box {line}: '{label}'"),
    };
    let _ = write!(
        text,
        " with xyxy coordinates '{}'",
        coordinates(candidate.bbox)
    );
    if let Some(score) = candidate.score {
        let _ = write!(text, " with score {}", rounded(score, 2));
    }
    text.push(',');
    text
}

/// As Python prints a list of numbers rounded to one decimal.
fn coordinates(bbox: Bbox) -> String {
    let sides = bbox.map(|side| rounded(side, 1));
    format!("[{}]", sides.join(", "))
}

/// As Python prints a number after `round`: without zeros at the end, but with one decimal at least.
fn rounded(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let short = text.trim_end_matches('0');
    match short.ends_with('.') {
        true => format!("{short}0"),
        false => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_pythons() {
        assert_eq!(rounded(0.5, 2), "0.5");
        assert_eq!(rounded(0.375, 2), "0.38");
        assert_eq!(rounded(0.125, 2), "0.12");
        assert_eq!(rounded(1.0, 2), "1.0");
        assert_eq!(rounded(12.25, 1), "12.2");
        assert_eq!(rounded(100.0, 1), "100.0");
    }

    fn candidate(detector: Option<&str>) -> Candidate {
        Candidate {
            bbox: [0.0, 1.0, 2.0, 3.0],
            label: "a".into(),
            score: None,
            detector: detector.map(Into::into),
        }
    }

    #[test]
    fn what_the_prompt_cannot_list_is_an_error() {
        let error = |names: &[Option<&str>], order: Option<&[usize]>| {
            let all: Vec<Candidate> = names.iter().map(|name| candidate(*name)).collect();
            prompt("a", &all, order, Frame::Chat).map_err(|error| error.to_string())
        };
        let three = error(&[Some("a"), Some("b"), Some("c")], None).unwrap_err();
        assert!(three.contains("3 detectors"), "{three}");
        let mixed = error(&[Some("a"), None], None).unwrap_err();
        assert!(mixed.contains("all or for none"), "{mixed}");
        let order = error(&[None, None], Some(&[0, 0])).unwrap_err();
        assert!(order.contains("permutation"), "{order}");
        let order = error(&[None, None], Some(&[1, 2])).unwrap_err();
        assert!(order.contains("permutation"), "{order}");
        // Detectors in turn: lines are grouped.
        let grouped = error(&[Some("a"), Some("b"), Some("a")], None).unwrap();
        assert_eq!(grouped.order, [0, 2, 1]);
    }
}
