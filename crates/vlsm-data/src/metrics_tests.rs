use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn mask(width: usize, data: Vec<u8>) -> Mask {
    Mask::new(width, data.len() / width, data).unwrap()
}

/// Hausdorff distance by its definition: distances between all edge pixels, sorted, then `numpy.percentile`'s formula.
fn brute_force(a: &Mask, b: &Mask, percentile: f64) -> f64 {
    let edge = |m: &Mask| -> Vec<(i64, i64)> {
        let (w, h) = (m.width as i64, m.height as i64);
        let on = |x: i64, y: i64| {
            (0..w).contains(&x) && (0..h).contains(&y) && m.data[(y * w + x) as usize] == 1
        };
        let all = (0..h).flat_map(|y| (0..w).map(move |x| (x, y)));
        let inner = |x, y| on(x - 1, y) && on(x + 1, y) && on(x, y - 1) && on(x, y + 1);
        all.filter(|&(x, y)| on(x, y) && !inner(x, y)).collect()
    };
    let (a, b) = (edge(a), edge(b));
    let directed = |from: &[(i64, i64)], to: &[(i64, i64)]| {
        let distance = |p: &(i64, i64), q: &(i64, i64)| {
            (((p.0 - q.0).pow(2) + (p.1 - q.1).pow(2)) as f64).sqrt()
        };
        let mut all: Vec<f64> = from
            .iter()
            .map(|p| {
                to.iter()
                    .map(|q| distance(p, q))
                    .fold(f64::INFINITY, f64::min)
            })
            .collect();
        all.sort_by(f64::total_cmp);
        let rank = (all.len() - 1) as f64 * percentile / 100.0;
        let low = all[rank as usize];
        let high = all[(rank as usize + 1).min(all.len() - 1)];
        low + (high - low) * rank.fract()
    };
    directed(&a, &b).max(directed(&b, &a))
}

#[test]
fn hausdorff_equals_its_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for round in 0..200 {
        let (width, height) = (rng.random_range(1..30), rng.random_range(1..30));
        let mut draw = || {
            let share = [0.02, 0.2, 0.6, 0.97][rng.random_range(0..4)];
            let mut m = mask(
                width,
                (0..width * height)
                    .map(|_| u8::from(rng.random_bool(share)))
                    .collect(),
            );
            m.data[rng.random_range(0..width * height)] = 1;
            m
        };
        let (a, b) = (draw(), draw());
        let percentile = [0.0, 50.0, 95.0, 100.0][round % 4];
        let (fast, slow) = (
            hausdorff(&a, &b, percentile).unwrap(),
            brute_force(&a, &b, percentile),
        );
        assert!(
            (fast - slow).abs() < 1e-9,
            "{width}x{height} at {percentile}: {fast} is not {slow}"
        );
        assert_eq!(fast, hausdorff(&b, &a, percentile).unwrap());
    }
}

#[test]
fn scores_equal_a_calculation_by_hand() {
    let pred = mask(4, vec![1, 1, 0, 0]);
    let truth = mask(4, vec![0, 1, 1, 1]);
    let scores = score(&pred, &truth).unwrap();
    assert_eq!((scores.dice, scores.iou), (2.0 / 5.0, 1.0 / 4.0));
    // Distances to the ground truth: 1, 0. To the prediction: 0, 1, 2, with 95th percentile 1 + 0.9 * 1.
    assert!((scores.hd95 - 1.9).abs() < 1e-12);
    assert_eq!(dice(&pred, &truth).unwrap(), scores.dice);
}

#[test]
fn empty_masks_have_defined_scores() {
    let (none, some) = (
        mask(4, vec![0; 12]),
        mask(4, [vec![1], vec![0; 11]].concat()),
    );
    let both = score(&none, &none).unwrap();
    assert_eq!(
        (both.dice, both.iou, both.hd95, both.one_empty),
        (1.0, 1.0, 0.0, false)
    );
    for (pred, truth) in [(&none, &some), (&some, &none)] {
        let one = score(pred, truth).unwrap();
        assert_eq!(
            (one.dice, one.iou, one.hd95, one.one_empty),
            (0.0, 0.0, 5.0, true)
        );
    }
}

#[test]
fn ignored_pixels_do_not_count() {
    let truth = mask(5, vec![1, 1, Mask::IGNORE, Mask::IGNORE, 0]);
    let scores = score(&mask(5, vec![1, 1, 1, 0, 0]), &truth).unwrap();
    assert_eq!((scores.dice, scores.iou, scores.hd95), (1.0, 1.0, 0.0));
    let only_ignored = score(
        &mask(5, vec![0, 0, 1, 1, 0]),
        &mask(5, vec![0, 0, 255, 255, 0]),
    )
    .unwrap();
    assert_eq!((only_ignored.dice, only_ignored.one_empty), (1.0, false));
}

#[test]
fn different_sizes_and_bad_percentiles_are_errors() {
    let error = score(&mask(2, vec![0; 4]), &mask(4, vec![0; 4]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("2x2") && error.contains("4x1"), "{error}");
    assert!(hausdorff(&mask(2, vec![1; 4]), &mask(2, vec![1; 4]), 101.0).is_err());
}

#[test]
fn a_summary_has_mean_and_sample_deviation() {
    let summary = Summary::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
    assert_eq!((summary.n, summary.mean), (8, 5.0));
    assert!((summary.std - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
    assert_eq!(
        Summary::of([3.0]),
        Summary {
            n: 1,
            mean: 3.0,
            std: 0.0
        }
    );
    assert_eq!(Summary::of([]), Summary::default());
}
