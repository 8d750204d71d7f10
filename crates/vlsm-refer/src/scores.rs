//! How often the right object is chosen.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::resolve::{Choice, Outcome};

/// What is known about one query after its choice.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Case {
    /// IoU of the answer's box with the object's; 0 without an answer.
    pub iou: f64,
    /// The largest IoU of a candidate's box; 0 without candidates.
    pub oracle_iou: f64,
    /// IoU of the detector's own answer, if it has one.
    pub own_iou: Option<f64>,
    /// Dice of the answer's mask with the object's, if both are masks.
    pub dice: Option<f64>,
}

/// Scores over queries. P@1 is the share whose IoU is above 0.5.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// Queries.
    pub queries: usize,
    /// Queries whose object is known. All means are over these.
    pub scored: usize,
    /// P@1 of the answers.
    pub p_at_1: Option<f64>,
    /// Mean IoU of the answers' boxes.
    pub mean_iou: Option<f64>,
    /// Mean Dice of the answers' masks, where both are masks.
    pub mean_dice: Option<f64>,
    /// P@1 if the best candidate were always chosen.
    pub oracle_p_at_1: Option<f64>,
    /// P@1 of the detector's own answers, over the queries that have one.
    pub own_p_at_1: Option<f64>,
    /// How many choices came about in each way.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// Share of queries for which the language model was asked and the detector's own answer taken.
    pub fallback_share: f64,
    /// Questions to the language model that were answered.
    pub answers: usize,
    /// Tokens of their prompts, if the server counted them for all.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answers, if the server counted them for all.
    pub answer_tokens: Option<u64>,
    /// Seconds of all requests together.
    pub seconds: f64,
}

impl Scores {
    /// Scores of choices; a case is `None` where the object is not known.
    pub fn new(choices: &[Choice], cases: &[Option<Case>]) -> Self {
        let known: Vec<&Case> = cases.iter().flatten().collect();
        let mean = |values: Vec<f64>| {
            let count = values.len() as f64;
            (!values.is_empty()).then(|| values.into_iter().sum::<f64>() / count)
        };
        let right = |iou: f64| f64::from(u8::from(iou > 0.5));
        let mut outcomes = BTreeMap::new();
        for choice in choices {
            *outcomes.entry(choice.outcome).or_insert(0) += 1;
        }
        let fallbacks = [Outcome::NoDigits, Outcome::OutOfRange, Outcome::Refused];
        let fallbacks: usize = fallbacks.iter().filter_map(|kind| outcomes.get(kind)).sum();
        let answers: Vec<_> = choices.iter().filter_map(|c| c.answer.as_ref()).collect();
        Self {
            queries: choices.len(),
            scored: known.len(),
            p_at_1: mean(known.iter().map(|case| right(case.iou)).collect()),
            mean_iou: mean(known.iter().map(|case| case.iou).collect()),
            mean_dice: mean(known.iter().filter_map(|case| case.dice).collect()),
            oracle_p_at_1: mean(known.iter().map(|case| right(case.oracle_iou)).collect()),
            own_p_at_1: mean(
                known
                    .iter()
                    .filter_map(|case| case.own_iou)
                    .map(right)
                    .collect(),
            ),
            fallback_share: fallbacks as f64 / choices.len().max(1) as f64,
            outcomes,
            answers: answers.len(),
            prompt_tokens: answers.iter().map(|answer| answer.prompt_tokens).sum(),
            answer_tokens: answers.iter().map(|answer| answer.answer_tokens).sum(),
            seconds: answers.iter().map(|answer| answer.seconds).sum(),
        }
    }
}
