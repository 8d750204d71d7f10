//! Scores of named segments.

use serde::{Deserialize, Serialize};

use super::classes::SegmentClasses;

/// Scores over all segments of a split. Shares are of 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentScores {
    /// Number of segments.
    pub segments: usize,
    /// Share of segments that got their true name.
    pub accuracy: f64,
    /// Mean of the classes' F1, weighted by their segments (W-F1).
    pub weighted_f1: f64,
    /// The same over base classes (B-F1); `None` if they have no segment.
    pub base_f1: Option<f64>,
    /// The same over novel classes (N-F1).
    pub novel_f1: Option<f64>,
    /// Mean of the F1 of the classes that have segments, each counted alike.
    pub mean_f1: f64,
    /// Each class, in the order of ids.
    pub classes: Vec<ClassScore>,
    /// The wrong names, the most frequent first.
    pub confusions: Vec<Confused>,
}

/// The scores of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Its name.
    pub name: String,
    /// Whether it is novel.
    pub novel: bool,
    /// Number of its segments.
    pub segments: usize,
    /// Number of segments that got its name.
    pub named: usize,
    /// Share of the segments with its name that are of it; 0 if there are none.
    pub precision: f64,
    /// Share of its segments that got its name; `None` if it has none.
    pub recall: Option<f64>,
    /// The harmonic mean of precision and recall; `None` without segments.
    pub f1: Option<f64>,
}

/// Segments of a class that got the name of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confused {
    /// The true name.
    pub truth: String,
    /// The name that they got.
    pub named: String,
    /// How many they are.
    pub segments: usize,
    /// How many the class has.
    pub of: usize,
}

impl SegmentScores {
    /// The scores of segments by their true and their predicted classes.
    pub(super) fn new(classes: &SegmentClasses, truth: &[usize], predicted: &[usize]) -> Self {
        let count = classes.names().len();
        let mut confusion = vec![vec![0; count]; count];
        for (truth, predicted) in truth.iter().zip(predicted) {
            confusion[*truth][*predicted] += 1;
        }
        let share = |part: usize, whole: usize| match whole {
            0 => None,
            whole => Some(part as f64 / whole as f64),
        };
        let scores: Vec<ClassScore> = (0..count)
            .map(|class| {
                let right = confusion[class][class];
                let segments = confusion[class].iter().sum();
                let named = confusion.iter().map(|row| row[class]).sum();
                let f1 = share(2 * right, segments + named);
                ClassScore {
                    name: classes.names()[class].clone(),
                    novel: classes.is_novel(class),
                    segments,
                    named,
                    precision: share(right, named).unwrap_or(0.0),
                    recall: share(right, segments),
                    f1: f1.filter(|_| segments > 0),
                }
            })
            .collect();
        let weighted = |wanted: &dyn Fn(&ClassScore) -> bool| {
            let chosen = || scores.iter().filter(|score| wanted(score));
            let segments: usize = chosen().map(|score| score.segments).sum();
            let sum: f64 = chosen()
                .filter_map(|score| Some(score.f1? * score.segments as f64))
                .sum();
            (segments > 0).then(|| sum / segments as f64)
        };
        let mut confusions = Vec::new();
        for (truth, row) in confusion.iter().enumerate() {
            for (named, &segments) in row.iter().enumerate() {
                if segments > 0 && named != truth {
                    confusions.push(Confused {
                        truth: classes.names()[truth].clone(),
                        named: classes.names()[named].clone(),
                        segments,
                        of: scores[truth].segments,
                    });
                }
            }
        }
        confusions.sort_by_key(|confused| std::cmp::Reverse(confused.segments));
        let right: usize = (0..count).map(|class| confusion[class][class]).sum();
        let f1: Vec<f64> = scores.iter().filter_map(|score| score.f1).collect();
        Self {
            segments: truth.len(),
            accuracy: right as f64 / truth.len().max(1) as f64,
            weighted_f1: weighted(&|_| true).unwrap_or(0.0),
            base_f1: weighted(&|score| !score.novel),
            novel_f1: weighted(&|score| score.novel),
            mean_f1: f1.iter().sum::<f64>() / f1.len().max(1) as f64,
            classes: scores,
            confusions,
        }
    }
}

#[cfg(test)]
mod tests {
    use vlsm_data::Dataset;

    use super::*;

    /// scikit-learn: `f1_score(truth, predicted, average=None)` is [0.8, 0.5, 0.667].
    #[test]
    fn f1_is_that_of_scikit_learn() {
        let names = ["sky", "road", "car", "bus"].map(str::to_owned).to_vec();
        let dataset = Dataset::from_splits("x", Default::default()).unwrap();
        let dataset = dataset.with_classes(names, None, Default::default());
        let novel = ["car", "bus"].map(str::to_owned);
        let classes = SegmentClasses::new(&dataset, &novel).unwrap();
        let truth = [0, 0, 0, 1, 1, 2];
        let predicted = [0, 0, 1, 1, 2, 2];
        let scores = SegmentScores::new(&classes, &truth, &predicted);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(scores.accuracy, 4.0 / 6.0);
        let f1: Vec<_> = scores.classes.iter().map(|class| class.f1).collect();
        assert_eq!(f1[3], None);
        near(f1[0].unwrap(), 0.8);
        near(f1[1].unwrap(), 0.5);
        near(f1[2].unwrap(), 2.0 / 3.0);
        near(
            scores.weighted_f1,
            (3.0 * 0.8 + 2.0 * 0.5 + 2.0 / 3.0) / 6.0,
        );
        near(scores.base_f1.unwrap(), (3.0 * 0.8 + 2.0 * 0.5) / 5.0);
        near(scores.novel_f1.unwrap(), 2.0 / 3.0);
        near(scores.mean_f1, (0.8 + 0.5 + 2.0 / 3.0) / 3.0);
        let worst = &scores.confusions[0];
        assert_eq!((&*worst.truth, &*worst.named), ("sky", "road"));
        assert_eq!((worst.segments, worst.of), (1, 3));
        assert_eq!(scores.confusions.len(), 2);
    }
}
