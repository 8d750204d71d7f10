//! Training sets for language models, as published.

use serde::Serialize;

use crate::candidates::Candidate;
use crate::error::Result;
use crate::geometry::{Bbox, iou};
use crate::mersenne::Mersenne;
use crate::prompt::{Frame, prompt};

/// A prompt with the right answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainingExample {
    /// The prompt's text.
    pub prompt: String,
    /// The index of the candidate that overlaps the object most.
    pub answer: String,
}

/// The training examples of a query: its candidates in their order and, if `shuffled`, in the published shuffled ones, whose number
/// grows with that of the candidates. There are none if no candidate's IoU with the object is above 0.5, or there are fewer than two.
///
/// # Errors
/// If the prompt cannot list the candidates.
pub fn training_examples(
    expression: &str,
    candidates: &[Candidate],
    truth: Bbox,
    shuffled: bool,
    frame: Frame,
) -> Result<Vec<TrainingExample>> {
    let overlaps = candidates
        .iter()
        .map(|candidate| iou(candidate.bbox, truth));
    // The first of equals, as `argmax` takes.
    let best = overlaps
        .enumerate()
        .reduce(|a, b| if b.1 > a.1 { b } else { a });
    let Some((best, overlap)) = best else {
        return Ok(Vec::new());
    };
    if candidates.len() < 2 || overlap <= 0.5 {
        return Ok(Vec::new());
    }
    let plain: Vec<usize> = (0..candidates.len()).collect();
    let mut orders = vec![plain.clone()];
    // Not with two detectors, whose candidates stay together.
    let one_detector = candidates
        .iter()
        .all(|candidate| candidate.detector.is_none());
    if shuffled && one_detector {
        for seed in seeds(candidates.len()) {
            let mut order = plain.clone();
            Mersenne::new(*seed).shuffle(&mut order);
            orders.push(order);
        }
    }
    let examples = orders.into_iter().map(|order| {
        let prompt = prompt(expression, candidates, Some(&order), frame)?;
        let answer = prompt.order.iter().position(|at| *at == best);
        Ok(TrainingExample {
            prompt: prompt.text,
            answer: answer.unwrap_or_default().to_string(),
        })
    });
    examples.collect()
}

/// The published seeds of Python's generator, by the number of candidates.
fn seeds(count: usize) -> &'static [u32] {
    match count {
        0 | 1 => &[],
        2 => &[2],
        3 => &[2, 6],
        4 => &[0, 2, 7],
        _ => &[2, 4, 6, 7],
    }
}
