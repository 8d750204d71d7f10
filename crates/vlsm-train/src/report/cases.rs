//! The samples that a report shows: the best, the median and the worst.

use std::fmt;

use vlsm_data::{Sample, dice};
use vlsm_image::{Mask, RgbImage};
use vlsm_models::predict::{PromptEncoder, logits, masks};
use vlsm_models::{Preprocessing, SegmentationModel, Tokenizer};

use super::ReportRun;
use crate::error::{Result, TrainError};
use crate::evaluate::SampleScores;

/// Why a sample is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseKind {
    /// Its Dice is the highest.
    Best,
    /// As many samples have a lower Dice as have a higher one.
    Median,
    /// Its Dice is the lowest.
    Worst,
}

impl fmt::Display for CaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Best => "best",
            Self::Median => "median",
            Self::Worst => "worst",
        })
    }
}

/// A sample with its pictures.
#[derive(Debug, Clone)]
pub struct Case {
    /// Why it is shown.
    pub kind: CaseKind,
    /// The run whose Dice decided.
    pub of: String,
    /// The sample's name.
    pub sample: String,
    /// The prompt set.
    pub set: String,
    /// The prompt.
    pub prompt: String,
    /// The image at its own size.
    pub image: RgbImage,
    /// The true mask.
    pub truth: Mask,
    /// The predictions of the runs.
    pub predictions: Vec<CasePrediction>,
}

/// The prediction of a run.
#[derive(Debug, Clone)]
pub struct CasePrediction {
    /// The run's name.
    pub run: String,
    /// The predicted mask, at the size of the true one.
    pub mask: Mask,
    /// Its Dice.
    pub dice: f64,
}

/// The samples with the best, the median and the worst Dice of a run under its first prompt set,
/// with image and true mask but without predictions. No sample is picked twice, even if there are
/// few. `ignore` is [`Dataset::ignore`](vlsm_data::Dataset).
///
/// # Errors
/// If a file cannot be read, or the run's rows are not of these samples.
pub fn pick_cases(run: &ReportRun, samples: &[Sample], ignore: Option<u8>) -> Result<Vec<Case>> {
    let picks = picks(&run.rows);
    let cases = picks.into_iter().map(|(kind, row)| {
        let sample = samples.iter().find(|sample| sample.name == row.sample);
        let sample = sample.ok_or_else(|| TrainError::Report {
            message: format!(
                "`{}` was evaluated but is not among the samples; give those that were evaluated",
                row.sample
            ),
        })?;
        let (image, truth) = sample.read(ignore)?;
        Ok(Case {
            kind,
            of: run.name.clone(),
            sample: row.sample.clone(),
            set: row.set.clone(),
            prompt: row.prompt.clone(),
            image,
            truth,
            predictions: Vec::new(),
        })
    });
    cases.collect()
}

/// The rows with the best, the median and the worst Dice under the first prompt set, none twice.
fn picks(rows: &[SampleScores]) -> Vec<(CaseKind, &SampleScores)> {
    let headline = rows.first().map_or("", |row| row.set.as_str());
    let mut rows: Vec<&SampleScores> = rows.iter().filter(|row| row.set == headline).collect();
    rows.sort_by(|a, b| a.dice.total_cmp(&b.dice));
    let picks = match rows.len() {
        0 => return Vec::new(),
        1 => vec![(CaseKind::Best, 0)],
        2 => vec![(CaseKind::Best, 1), (CaseKind::Worst, 0)],
        n => vec![
            (CaseKind::Best, n - 1),
            (CaseKind::Median, n / 2),
            (CaseKind::Worst, 0),
        ],
    };
    let pick = |(kind, index): (CaseKind, usize)| (kind, rows[index]);
    picks.into_iter().map(pick).collect()
}

/// Adds a model's predictions for the cases under the run's name. `model` must be in inference mode.
///
/// # Errors
/// If the tokenizer does not belong to the model.
pub fn predict_cases<M: SegmentationModel>(
    cases: &mut [Case],
    run: &str,
    model: &M,
    tokenizer: &Tokenizer,
    preprocessing: &Preprocessing,
) -> Result<()> {
    let encoder = PromptEncoder::frozen(tokenizer)?;
    for case in cases {
        let input = preprocessing.tensor(&[&case.image], &model.device())?;
        let features = model.encode_image(input)?;
        let text = encoder.encode(model, &[&case.prompt])?;
        let logits = logits(model, &features, &[0], text)?;
        let size = (case.truth.width, case.truth.height);
        for mask in masks(logits, &[size], preprocessing.fit)? {
            case.predictions.push(CasePrediction {
                run: run.to_owned(),
                dice: dice(&mask, &case.truth)?,
                mask,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Oracle;

    fn row(sample: &str, set: &str, dice: f64) -> SampleScores {
        SampleScores {
            group: String::new(),
            sample: sample.into(),
            subject: sample.into(),
            set: set.into(),
            oracle: Oracle::No,
            prompt: "polyp".into(),
            dice,
            iou: 0.0,
            hd95: 0.0,
            one_empty: false,
        }
    }

    fn picked(rows: &[SampleScores]) -> Vec<(String, &str)> {
        let picks = picks(rows).into_iter();
        picks
            .map(|(kind, row)| (kind.to_string(), row.sample.as_str()))
            .collect()
    }

    fn named<'a>(kind: &str, sample: &'a str) -> (String, &'a str) {
        (kind.into(), sample)
    }

    #[test]
    fn best_median_and_worst_are_of_the_first_set() {
        let rows = [
            row("a", "p6", 0.3),
            row("a", "p1", 0.9),
            row("b", "p6", 0.8),
            row("b", "p1", 0.1),
            row("c", "p6", 0.0),
            row("d", "p6", 0.5),
            row("e", "p6", 0.6),
        ];
        let expected = [
            named("best", "b"),
            named("median", "d"),
            named("worst", "c"),
        ];
        assert_eq!(picked(&rows), expected);
    }

    #[test]
    fn no_sample_is_taken_twice() {
        let rows = [
            row("a", "p6", 0.3),
            row("b", "p6", 0.3),
            row("c", "p6", 0.3),
        ];
        assert_eq!(
            picked(&rows[..2]),
            [named("best", "b"), named("worst", "a")]
        );
        assert_eq!(picked(&rows[..1]), [named("best", "a")]);
        assert!(picked(&[]).is_empty());
        let mut samples: Vec<_> = picked(&rows).into_iter().map(|pick| pick.1).collect();
        samples.sort_unstable();
        assert_eq!(samples, ["a", "b", "c"]);
    }
}
