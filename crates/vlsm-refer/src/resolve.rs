//! From expressions and candidates to choices.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::Serialize;
use vlsm_language::{Answer, LanguageError};

use crate::answer::{NoIndex, read_index};
use crate::answers::Answers;
use crate::backend::Backend;
use crate::candidates::Candidate;
use crate::error::{ReferError, Result};
use crate::mersenne::Mersenne;
use crate::prompt::prompt;

/// How a choice came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// By the language model.
    Chosen,
    /// There was one candidate; the language model was not asked.
    OnlyCandidate,
    /// There was none.
    NoCandidates,
    /// Fall-back: the answer had no digits.
    NoDigits,
    /// Fall-back: the answer's number was too large.
    OutOfRange,
    /// Fall-back: the server refused the prompt, or it is too long for the model.
    Refused,
}

/// A choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// How it came about.
    pub outcome: Outcome,
    /// The index of the chosen candidate; none if there was none, or the detector's own answer is taken.
    pub index: Option<usize>,
    /// The language model's answer, if it was asked and answered.
    pub answer: Option<Answer>,
}

/// Asks about each expression which of its candidates it means, `concurrency` at a time. With no candidate nothing is chosen; a
/// single one is chosen without a question; and if the answer has no index, nothing is chosen, so that the caller takes the
/// detector's own answer. `seed` lists candidates in the order of Python's `random.shuffle`, as in published training sets.
///
/// `progress` gets the number of choices made after each.
///
/// # Errors
/// If the server does not answer. Answers up to then are kept.
pub fn resolve(
    questions: &[(&str, &[Candidate])],
    backend: &dyn Backend,
    answers: &Answers,
    concurrency: usize,
    seed: Option<u32>,
    progress: impl Fn(usize) + Sync,
) -> Result<Vec<Choice>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stopped = AtomicBool::new(false);
    let results: Vec<Mutex<Option<Result<Choice>>>> =
        questions.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some((expression, candidates)), Some(slot)) = (questions.get(at), results.get(at))
            else {
                return;
            };
            let result = choose(expression, candidates, backend, answers, seed);
            stopped.fetch_or(result.is_err(), Ordering::Relaxed);
            *slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(result);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..concurrency.clamp(1, questions.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut choices = Vec::with_capacity(questions.len());
    let mut failed = None;
    for result in results {
        match result
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
        {
            Some(Ok(choice)) => choices.push(choice),
            Some(Err(error)) => failed = failed.or(Some(error)),
            // Not begun, since another failed.
            None => {}
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(choices),
    }
}

fn choose(
    expression: &str,
    candidates: &[Candidate],
    backend: &dyn Backend,
    answers: &Answers,
    seed: Option<u32>,
) -> Result<Choice> {
    let without_question = |outcome, index| Choice {
        outcome,
        index,
        answer: None,
    };
    match candidates.len() {
        0 => return Ok(without_question(Outcome::NoCandidates, None)),
        1 => return Ok(without_question(Outcome::OnlyCandidate, Some(0))),
        _ => {}
    }
    let order = seed.map(|seed| {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        Mersenne::new(seed).shuffle(&mut order);
        order
    });
    let prompt = prompt(expression, candidates, order.as_deref(), backend.frame())?;
    let key = Answers::key(backend, &prompt.text);
    let answer = match answers.get(&key) {
        Some(answer) => answer,
        None => match backend.ask(&prompt.text, candidates.len()) {
            Ok(answer) => {
                answers.keep(key, answer.clone())?;
                answer
            }
            Err(ReferError::Language(
                LanguageError::Refused(_) | LanguageError::TooLong { .. },
            )) => return Ok(without_question(Outcome::Refused, None)),
            Err(error) => return Err(error),
        },
    };
    let (outcome, index) = match read_index(&answer.text, candidates.len()) {
        Ok(line) => (Outcome::Chosen, prompt.order.get(line).copied()),
        Err(NoIndex::NoDigits) => (Outcome::NoDigits, None),
        Err(NoIndex::OutOfRange) => (Outcome::OutOfRange, None),
    };
    Ok(Choice {
        outcome,
        index,
        answer: Some(answer),
    })
}
