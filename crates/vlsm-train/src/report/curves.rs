//! The curves of a training, read from its `metrics.jsonl`.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Result, TrainError};

/// Maximum number of points of a curve; a longer one is averaged over stretches of equal length.
const MOST_POINTS: usize = 300;

/// The curves of a training: points of optimiser step and value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// The loss of each step.
    pub step_loss: Vec<(f64, f64)>,
    /// The learning rate of each step.
    pub lr: Vec<(f64, f64)>,
    /// The training loss of each epoch, at its last step.
    pub train_loss: Vec<(f64, f64)>,
    /// The validation loss of each epoch.
    pub val_loss: Vec<(f64, f64)>,
    /// The validation Dice of each epoch.
    pub val_dice: Vec<(f64, f64)>,
}

/// A line of `metrics.jsonl`, of a step or of an epoch.
#[derive(Deserialize)]
struct Line {
    step: f64,
    lr: f64,
    loss: Option<f64>,
    train_loss: Option<f64>,
    val_loss: Option<f64>,
    val_dice: Option<f64>,
}

impl Curves {
    /// Reads a run's `metrics.jsonl`.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Read {
            path: path.into(),
            source,
        })?;
        let mut curves = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|error| TrainError::Run {
                path: path.into(),
                message: format!(
                    "line {} is malformed: {error}; resume the run, which rewrites the lines after \
                     its checkpoint, or start it in another folder",
                    number + 1
                ),
            })?;
            let point = |value: f64| (line.step, value);
            if line.loss.is_some() {
                curves.lr.push(point(line.lr));
            }
            curves.step_loss.extend(line.loss.map(point));
            curves.train_loss.extend(line.train_loss.map(point));
            curves.val_loss.extend(line.val_loss.map(point));
            curves.val_dice.extend(line.val_dice.map(point));
        }
        for curve in [
            &mut curves.step_loss,
            &mut curves.lr,
            &mut curves.train_loss,
            &mut curves.val_loss,
            &mut curves.val_dice,
        ] {
            *curve = thinned(curve);
        }
        Ok(curves)
    }
}

/// At most [`MOST_POINTS`] points, each the mean of a stretch.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |points: &[(f64, f64)]| {
        let sum = points
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let count = points.len() as f64;
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(stretch).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_steps_and_of_epochs_are_distinguished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let text = r#"{"step":1,"loss":2.0,"lr":0.1,"grad_norm":1.0}
{"step":2,"loss":1.0,"lr":0.05,"grad_norm":1.0}
{"epoch":1,"step":2,"train_loss":1.5,"val_loss":1.2,"val_dice":0.4,"lr":0.05}
{"epoch":2,"step":3,"train_loss":1.1,"lr":0.05}
"#;
        std::fs::write(&path, text).unwrap();
        let curves = Curves::read(&path).unwrap();
        assert_eq!(curves.step_loss, [(1.0, 2.0), (2.0, 1.0)]);
        assert_eq!(curves.lr, [(1.0, 0.1), (2.0, 0.05)]);
        assert_eq!(curves.train_loss, [(2.0, 1.5), (3.0, 1.1)]);
        assert_eq!(curves.val_loss, [(2.0, 1.2)]);
        assert_eq!(curves.val_dice, [(2.0, 0.4)]);
        std::fs::write(&path, "{\"step\":1,\"lr\":0}\n{\"st").unwrap();
        let error = Curves::read(&path).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl") && error.contains("line 2"));
    }

    #[test]
    fn long_curves_are_averaged() {
        let points: Vec<(f64, f64)> = (0..601).map(|x| (f64::from(x), 2.0)).collect();
        let thin = thinned(&points);
        assert_eq!(thin.len(), 201);
        assert_eq!(thin[0], (1.0, 2.0));
        assert_eq!(thin[200], (600.0, 2.0));
        assert!(thinned(&[]).is_empty());
    }
}
