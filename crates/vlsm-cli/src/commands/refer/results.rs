//! The files that `vlsm refer` writes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::json;
use vlsm_data::metrics::dice;
use vlsm_image::{read_json, read_text, write_atomic_bytes, write_png_mask};
use vlsm_refer::{Case, Choice, Outcome, Query, Scores, iou};

use super::found::{Answer, Found, truth};
use crate::output::key_value_table;

/// The folder of results.
pub(super) struct Results {
    folder: PathBuf,
    /// A digest of the file of queries.
    digest: String,
}

/// The scores, and of which queries they are.
#[derive(Serialize)]
pub(super) struct Summary {
    queries_digest: String,
    #[serde(flatten)]
    scores: Scores,
}

impl Results {
    /// The folder, for the results of a file of queries.
    ///
    /// # Errors
    /// If it has those of another file, unless they may be overwritten.
    pub(super) fn open(folder: &Path, queries: &Path, force: bool) -> Result<Self> {
        let text = read_text(queries)?;
        let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
        let summary = folder.join("summary.json");
        if summary.is_file() && !force {
            let other: serde_json::Value = read_json(&summary)?;
            if other["queries_digest"] != digest {
                bail!(
                    "`{}` has the results of other queries; choose another folder or add --force",
                    folder.display()
                );
            }
        }
        Ok(Self {
            folder: folder.into(),
            digest,
        })
    }

    /// Writes the results of all queries.
    pub(super) fn write(
        self,
        queries: &[Query],
        found: &[Found],
        choices: &[Choice],
    ) -> Result<Summary> {
        let masks = self.folder.join("masks");
        let mut lines = String::new();
        let mut cases = Vec::with_capacity(queries.len());
        for (at, ((query, found), choice)) in queries.iter().zip(found).zip(choices).enumerate() {
            let answer = answer(found, choice);
            let mask = answer.as_ref().and_then(|answer| answer.mask.as_ref());
            let file = mask.map(|_| format!("masks/{}.png", at + 1));
            if let Some(mask) = mask {
                std::fs::create_dir_all(&masks)
                    .with_context(|| format!("cannot make `{}`", masks.display()))?;
                write_png_mask(&masks.join(format!("{}.png", at + 1)), mask)?;
            }
            let case = case(query, found, choice)?;
            let line = json!({
                "image": query.image,
                "expression": query.expression,
                "outcome": choice.outcome,
                "candidates": found.candidates.len(),
                "index": choice.index,
                "label": choice.index.and_then(|at| found.candidates.get(at)).map(|one| &one.label),
                "box": answer.as_ref().map(|answer| answer.bbox),
                "mask": file,
                "answer": choice.answer.as_ref().map(|answer| &answer.text),
                "iou": case.map(|case| case.iou),
                "dice": case.and_then(|case| case.dice),
                "oracle_iou": case.map(|case| case.oracle_iou),
            });
            lines += &format!("{line}\n");
            cases.push(case);
        }
        let summary = Summary {
            queries_digest: self.digest,
            scores: Scores::new(choices, &cases),
        };
        write_atomic_bytes(&self.folder.join("results.jsonl"), lines.as_bytes())?;
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        write_atomic_bytes(&self.folder.join("summary.json"), text.as_bytes())?;
        Ok(summary)
    }
}

/// The answer that a choice stands for; none if there was nothing to choose from.
fn answer(found: &Found, choice: &Choice) -> Option<Answer> {
    let asked = choice.outcome != Outcome::NoCandidates;
    asked.then(|| found.answer(choice.index)).flatten()
}

/// What is known about a query after its choice; nothing if its object is not known.
pub(in crate::commands) fn case(
    query: &Query,
    found: &Found,
    choice: &Choice,
) -> Result<Option<Case>> {
    let Some(truth) = truth(query)? else {
        return Ok(None);
    };
    let answer = answer(found, choice);
    let overlap = |bbox| iou(bbox, truth.bbox);
    let mask = answer.as_ref().and_then(|answer| answer.mask.as_ref());
    let by_segmenter = query.candidates.is_none();
    let dice = match (mask, &truth.mask) {
        (Some(mask), Some(truth)) => Some(dice(mask, truth)?),
        // No answer, where the segmenter could have given one.
        (None, Some(_)) if by_segmenter => Some(0.0),
        _ => None,
    };
    let candidates = found.candidates.iter();
    Ok(Some(Case {
        iou: answer.as_ref().map_or(0.0, |answer| overlap(answer.bbox)),
        oracle_iou: candidates.map(|one| overlap(one.bbox)).fold(0.0, f64::max),
        own_iou: match &found.own {
            Some(own) => Some(overlap(own.bbox)),
            // A segmenter's empty mask is a wrong answer.
            None => by_segmenter.then_some(0.0),
        },
        dice,
    }))
}

impl Summary {
    /// As text, or as JSON in one line.
    pub(super) fn shown(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self)? + "\n");
        }
        let scores = &self.scores;
        let percent = |share: Option<f64>| share.map(|share| format!("{:.2} %", 100.0 * share));
        let lines = [
            ("queries", Some(scores.queries.to_string())),
            ("P@1", percent(scores.p_at_1)),
            ("mean IoU", percent(scores.mean_iou)),
            ("mean Dice", percent(scores.mean_dice)),
            ("P@1 of the best candidates", percent(scores.oracle_p_at_1)),
            (
                "P@1 of the detector's own answers",
                percent(scores.own_p_at_1),
            ),
            ("fall-backs", percent(Some(scores.fallback_share))),
            (
                "tokens of prompts",
                scores.prompt_tokens.map(|count| count.to_string()),
            ),
            (
                "tokens of answers",
                scores.answer_tokens.map(|count| count.to_string()),
            ),
        ];
        let lines: Vec<(&str, String)> = lines
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        Ok(key_value_table(&lines))
    }
}
