//! The Wilcoxon signed-rank test (Wilcoxon 1945), and Holm's correction for many tests (Holm 1979).

/// A paired two-sided test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wilcoxon {
    /// Pairs that differ; the others are left out.
    pub pairs: usize,
    /// The smaller of the rank sums of positive and of negative differences.
    pub statistic: f64,
    /// The probability of a statistic as small as this if the differences are symmetric about 0.
    pub p: f64,
}

/// Maximum number of pairs for the exact distribution, if all differ by different amounts.
const EXACT: usize = 50;
/// The same with ties or equal pairs.
const EXACT_WITH_TIES: usize = 13;

/// Tests paired differences, as scipy 1.17's `wilcoxon`. Zeros are left out; ties share their mean rank. The distribution over all
/// signs is exact for up to 50 pairs, with ties or zeros for up to 13; otherwise the normal approximation is used, with correction
/// for ties and none for continuity. `None` if no pair differs.
pub fn wilcoxon(differences: &[f64]) -> Option<Wilcoxon> {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let pairs = sorted.len();
    if pairs == 0 {
        return None;
    }
    // Twice the rank, which is an integer for ties as well.
    let mut ranks: Vec<usize> = Vec::with_capacity(pairs);
    let (mut positive, mut ties) = (0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let count = equal.len();
        let rank = 2 * ranks.len() + count + 1;
        positive += rank * equal.iter().filter(|d| **d > 0.0).count();
        ties += (count.pow(3) - count) as f64;
        ranks.extend(std::iter::repeat_n(rank, count));
    }
    let total: usize = ranks.iter().sum();
    let smaller = positive.min(total - positive);
    let statistic = smaller as f64 / 2.0;
    let simple = ties == 0.0 && pairs == differences.len();
    let p = if differences.len() <= if simple { EXACT } else { EXACT_WITH_TIES } {
        exact(&ranks, smaller)
    } else {
        let n = pairs as f64;
        let mean = n * (n + 1.0) / 4.0;
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
        libm::erfc((mean - statistic) / (2.0 * variance).sqrt())
    };
    Some(Wilcoxon {
        pairs,
        statistic,
        p,
    })
}

/// Twice the probability that a random subset of the ranks has a sum of at most `most`.
fn exact(ranks: &[usize], most: usize) -> f64 {
    // Number of subsets by their sum. The counts are at most 2^50, which doubles represent exactly.
    let mut subsets = vec![0.0; most + 1];
    subsets[0] = 1.0;
    for rank in ranks {
        for sum in (*rank..=most).rev() {
            subsets[sum] += subsets[sum - rank];
        }
    }
    let count: f64 = subsets.iter().sum();
    (2.0 * count / 2f64.powi(ranks.len() as i32)).min(1.0)
}

/// Holm's step-down correction: each p-value times the number of hypotheses not yet rejected before it, in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut most: f64 = 0.0;
    for (place, at) in order.into_iter().enumerate() {
        most = most.max((p.len() - place) as f64 * p[at]).min(1.0);
        corrected[at] = most;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(differences: &[f64], statistic: f64, p: f64) {
        let test = wilcoxon(differences).unwrap();
        assert_eq!(test.statistic, statistic);
        assert!((test.p / p - 1.0).abs() < 1e-12, "{} {p}", test.p);
    }

    /// 1, 2, ..., n with signs that are neither even nor regular.
    fn signed(n: i64) -> Vec<f64> {
        let sign = |i: i64| {
            let odd = i % 3 == 0 && [1, 2].contains(&(i * i % 7));
            if odd == (i % 5 == 0) { 1.0 } else { -1.0 }
        };
        (0..n).map(|i| (i + 1) as f64 * sign(i)).collect()
    }

    /// Numbers of scipy 1.17.1's `wilcoxon` with its defaults.
    #[test]
    fn agrees_with_scipy() {
        let heights = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75];
        agrees(&heights.map(f64::from), 24.0, 0.041259765625);
        let tied = [0, 0, 1, 1, -1, 2, 2, 3, -3, 4, 5, 5, -6, 7, 8, 9, 0, 10];
        agrees(&tied.map(f64::from), 19.5, 0.021250804081405186);
        agrees(&signed(50), 382.0, 0.012931948668784443);
        agrees(&signed(51), 433.0, 0.03109167913918939);
        agrees(&signed(100), 1509.0, 0.0004770222417899159);
        agrees(&[1.5, -0.5], 1.0, 1.0);
        agrees(&[0.0, 1.0, 2.0, -3.0, 4.0, 5.0, 6.0], 3.0, 0.15625);
        agrees(&[1.0, 1.0, 2.0, -3.0, 4.0], 4.0, 0.375);
        let zero = [0, 1, 2, -3, 4, 5, 6, 7, 8, 9, -10, 11, 12, 13, 14];
        agrees(&zero.map(f64::from), 13.0, 0.013150364234284668);
        assert_eq!(wilcoxon(&[0.0, 0.0]), None);
    }

    #[test]
    fn signs_do_not_matter() {
        let turned: Vec<f64> = signed(40).iter().map(|d| -d).collect();
        assert_eq!(wilcoxon(&turned), wilcoxon(&signed(40)));
    }

    /// By hand: 0.01 x 4; 0.02 x 3; 0.03 x 2; 0.04, which is not below the one before it.
    #[test]
    fn holm_steps_down() {
        let corrected = holm(&[0.03, 0.01, 0.04, 0.02]);
        for (value, expected) in corrected.iter().zip([0.06, 0.04, 0.06, 0.06]) {
            assert!((value - expected).abs() < 1e-15);
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
