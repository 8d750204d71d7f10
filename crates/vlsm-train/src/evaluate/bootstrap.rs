//! Confidence intervals of means by the bootstrap (Efron 1979), over subjects.

use std::collections::HashMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Number of resamples.
const RESAMPLES: usize = 2000;

/// The number of subjects, and the 95 % percentile interval of each metric's mean. Whole subjects are drawn with replacement, since
/// samples of one image or patient are not independent. The draws depend on nothing but the number of subjects. `None` for fewer
/// than two subjects.
pub(crate) fn intervals<const METRICS: usize>(
    values: &[(&str, [f64; METRICS])],
) -> (usize, Option<[[f64; 2]; METRICS]>) {
    let mut index: HashMap<&str, usize> = HashMap::new();
    let mut subjects: Vec<([f64; METRICS], f64)> = Vec::new();
    for (subject, values) in values {
        let at = *index.entry(subject).or_insert_with(|| {
            subjects.push(([0.0; METRICS], 0.0));
            subjects.len() - 1
        });
        let (sums, count) = &mut subjects[at];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
        *count += 1.0;
    }
    let count = subjects.len();
    if count < 2 {
        return (count, None);
    }
    let bound = u32::try_from(count).unwrap_or(u32::MAX);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut means: [Vec<f64>; METRICS] = std::array::from_fn(|_| Vec::with_capacity(RESAMPLES));
    for _ in 0..RESAMPLES {
        let mut sums = [0.0; METRICS];
        let mut samples = 0.0;
        for _ in 0..count {
            let (values, number) = &subjects[rng.random_range(0..bound) as usize];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
            samples += number;
        }
        for (means, sum) in means.iter_mut().zip(sums) {
            means.push(sum / samples);
        }
    }
    let interval = |mut means: Vec<f64>| {
        means.sort_by(f64::total_cmp);
        [0.025, 0.975].map(|share| quantile(&means, share))
    };
    (count, Some(means.map(interval)))
}

/// A quantile of sorted values, with linear interpolation, as numpy's.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_the_normal_approximation_for_many_values() {
        // 0, 1, ..., 399: the standard error of the mean is 115.6 / 20.
        let names: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let values: Vec<(&str, [f64; 1])> = names
            .iter()
            .enumerate()
            .map(|(i, name)| (&**name, [i as f64]))
            .collect();
        let (subjects, found) = intervals(&values);
        let [[low, high]] = found.unwrap();
        assert_eq!(subjects, 400);
        assert!((low - (199.5 - 11.33)).abs() < 0.8, "{low}");
        assert!((high - (199.5 + 11.33)).abs() < 0.8, "{high}");
        assert_eq!(intervals(&values).1, found);
    }

    #[test]
    fn repeats_of_a_subject_do_not_narrow_it() {
        let names: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        let once: Vec<(&str, [f64; 1])> = names
            .iter()
            .enumerate()
            .map(|(i, name)| (&**name, [(i * i % 7) as f64]))
            .collect();
        let often = once.repeat(10);
        assert_eq!(intervals(&once), intervals(&often));
        assert_eq!(intervals(&once[..1]), (1, None));
        assert_eq!(intervals::<1>(&[]), (0, None));
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0.025, 0.5, 0.975])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.025, 1.075), (0.5, 3.0), (0.975, 7.7)] {
            assert!((quantile(&sorted, share) - expected).abs() < 1e-12);
        }
    }
}
