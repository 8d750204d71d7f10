//! The live line of a training.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::checkpoint::Progress;

/// Epoch, step, loss, Dice, images a second and time left, on one line of a terminal that is
/// written anew; where standard error is no terminal, one line an epoch.
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    dice: Option<f64>,
    /// Where the current epoch began. The pace shown is the epoch's own: one in which features are computed takes far
    /// longer than those that find them in the cache.
    start: Option<Point>,
    now: Point,
}

/// Steps, and the images and the time that they took.
#[derive(Clone, Copy, Default)]
struct Point {
    step: u64,
    images: usize,
    time: Duration,
}

impl ProgressLine {
    /// For a training of `steps` steps.
    pub(crate) fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} [{elapsed}]");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━━─"));
        }
        Self {
            bar,
            dice: None,
            start: None,
            now: Point::default(),
        }
    }

    /// After a step; `images` were trained on in `time`.
    pub(crate) fn step(&mut self, progress: &Progress, images: usize, time: Duration) {
        let step = progress.step as u64;
        self.now = Point { step, images, time };
        let start = *self.start.get_or_insert(Point {
            step: step - 1,
            ..Point::default()
        });
        let (images, seconds) = (images - start.images, (time - start.time).as_secs_f64());
        let left = self.bar.length().unwrap_or(step).saturating_sub(step) as f64 * seconds
            / (step - start.step) as f64;
        let dice = self
            .dice
            .map_or("-".to_owned(), |dice| format!("{dice:.4}"));
        self.bar.set_message(format!(
            "epoch {} loss {:.4} val Dice {dice} {:.1} images/s, {} left",
            progress.epoch + 1,
            progress.loss_sum / progress.position.max(1) as f64,
            images as f64 / seconds,
            clock(left),
        ));
        self.bar.set_position(step);
    }

    /// During validation.
    pub(crate) fn validating(&self, done: usize, of: usize) {
        self.bar.set_message(format!("validating {done}/{of}"));
    }

    /// After an epoch.
    pub(crate) fn epoch(
        &mut self,
        epoch: usize,
        loss: f64,
        val_loss: Option<f64>,
        dice: Option<f64>,
    ) {
        self.dice = dice.or(self.dice);
        self.start = self.start.map(|_| self.now);
        let mut text = format!("epoch {epoch}: loss {loss:.4}");
        if let Some(loss) = val_loss {
            text += &format!(", validation loss {loss:.4}");
        }
        if let Some(dice) = dice {
            text += &format!(", Dice {dice:.4}");
        }
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// At the end.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}
