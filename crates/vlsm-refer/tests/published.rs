//! Prompts, readings of answers and shuffled orders equal those of the published code (`scripts/reference/make_refer.py`).

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde::Deserialize;
use vlsm_refer::{Candidate, Frame, NoIndex, prompt, read_index, training_examples};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    shuffles: Vec<Shuffle>,
}

#[derive(Deserialize)]
struct Case {
    frame: String,
    expression: String,
    candidates: Vec<Candidate>,
    prompt: String,
    answer: String,
    index: Option<usize>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Shuffle {
    count: usize,
    seed: u32,
    order: Vec<usize>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/refer/cases.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn prompts_and_answers_are_the_published_ones() {
    let cases = fixture().cases;
    assert_eq!(cases.len(), 50);
    for case in cases {
        let frame: Frame = case.frame.parse().unwrap();
        let prompt = prompt(&case.expression, &case.candidates, None, frame).unwrap();
        assert_eq!(prompt.text, case.prompt);
        let expected = match (case.index, case.error.as_deref()) {
            (Some(index), None) => Ok(index),
            (None, Some("no_int_generated")) => Err(NoIndex::NoDigits),
            (None, Some("gen_out_of_scope")) => Err(NoIndex::OutOfRange),
            other => unreachable!("{other:?}"),
        };
        let found = read_index(&case.answer, case.candidates.len());
        assert_eq!(found, expected, "{:?}", case.answer);
    }
}

/// A training set has each query in its order and in the published shuffled ones.
#[test]
fn shuffled_orders_are_pythons() {
    let candidate = |at: usize| Candidate {
        bbox: [at as f64, 0.0, at as f64 + 1.0, 1.0],
        label: format!("label {at}"),
        score: None,
        detector: None,
    };
    let shuffles = fixture().shuffles;
    for count in 2..8 {
        let candidates: Vec<Candidate> = (0..count).map(candidate).collect();
        let truth = candidates[1].bbox;
        let seeds: &[u32] = match count {
            2 => &[2],
            3 => &[2, 6],
            4 => &[0, 2, 7],
            _ => &[2, 4, 6, 7],
        };
        let shuffled = |seed: &u32| {
            let of_seed = |shuffle: &&Shuffle| shuffle.count == count && shuffle.seed == *seed;
            shuffles.iter().find(of_seed).unwrap().order.clone()
        };
        let orders = std::iter::once((0..count).collect()).chain(seeds.iter().map(shuffled));
        let expected: Vec<(String, String)> = orders
            .map(|order: Vec<usize>| {
                let prompt = prompt("a", &candidates, Some(&order), Frame::Plain).unwrap();
                let place = order.iter().position(|at| *at == 1).unwrap();
                (prompt.text, place.to_string())
            })
            .collect();
        let examples = training_examples("a", &candidates, truth, true, Frame::Plain).unwrap();
        let found = examples.into_iter().map(|one| (one.prompt, one.answer));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{count} candidates");
        let plain = training_examples("a", &candidates, truth, false, Frame::Plain).unwrap();
        assert_eq!(plain.len(), 1);
    }
    // An object that no candidate is, and a single candidate.
    let two = [candidate(0), candidate(1)];
    let far = [7.0, 0.0, 8.0, 1.0];
    for (candidates, truth) in [(&two[..], far), (&two[..1], two[0].bbox), (&[], far)] {
        let examples = training_examples("a", candidates, truth, true, Frame::Plain).unwrap();
        assert_eq!(examples, []);
    }
}
