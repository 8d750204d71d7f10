//! What a training shows on the terminal: a live line, messages, and the library's warnings.

use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use vlsm_data::Split;
use vlsm_train::{EpochMetrics, Observer, StepReport};

use crate::output::{is_quiet, is_verbose, note};
use crate::stop;

/// Prints the libraries' warnings to standard error, without time, level or target; with `--verbose` also what the crates of this
/// program do.
pub(crate) fn show_warnings() {
    let levels = Targets::new().with_default(LevelFilter::WARN);
    let levels = match is_verbose() {
        true => levels.with_target("vlsm", LevelFilter::DEBUG),
        false => levels,
    };
    let lines = tracing_subscriber::fmt::layer()
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        // Otherwise a closed standard error would end the program with a panic.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(levels))
        .init();
}

/// Shows the progress of training on standard error: epoch, step, loss, Dice, images per second and time left, on one line that
/// is updated in place. If standard error is not a terminal, prints one line per epoch.
pub(crate) struct Terminal {
    bar: ProgressBar,
    dice: Option<f64>,
    /// The state when the current epoch began. The speed shown is the current epoch's, since an epoch that computes features
    /// takes far longer than one that reads them from the cache.
    start: Option<State>,
    now: State,
}

/// Steps done, and the images and time that they took.
#[derive(Clone, Copy, Default)]
struct State {
    step: u64,
    images: usize,
    time: Duration,
}

impl Terminal {
    /// Shows nothing until a training starts.
    pub(crate) fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            dice: None,
            start: None,
            now: State::default(),
        }
    }

    /// Prints a line above the live line.
    fn print(&self, text: &str) {
        if is_quiet() {
            return;
        }
        if self.bar.is_hidden() || self.bar.is_finished() {
            note(text);
        } else {
            self.bar.println(text);
        }
    }
}

impl Observer for Terminal {
    fn run(&mut self, text: &str) {
        vlsm_alloc::release_freed_memory();
        self.message(text);
    }

    fn start(&mut self, steps: usize) {
        // Loading the base leaves free blocks that training does not reuse. They are a tenth of the demo's peak memory.
        vlsm_alloc::release_freed_memory();
        self.bar.finish_and_clear();
        if is_quiet() {
            return;
        }
        *self = Self {
            bar: ProgressBar::new(steps as u64),
            ..Self::new()
        };
        let style = ProgressStyle::with_template("{bar:12} {pos}/{len} [{elapsed}] {wide_msg}");
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("━━─"));
        }
    }

    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let step = report.metrics.step as u64;
        self.now = State {
            step,
            images: report.images,
            time: report.training,
        };
        let start = *self.start.get_or_insert(State {
            step: step - 1,
            ..State::default()
        });
        let images = report.images - start.images;
        let seconds = (report.training - start.time).as_secs_f64();
        let steps_left = self.bar.length().unwrap_or(step).saturating_sub(step);
        let left = steps_left as f64 * seconds / (step - start.step) as f64;
        let dice = self.dice.map(|dice| format!(" Dice {dice:.4}"));
        self.bar.set_message(format!(
            "{} left, epoch {} loss {:.4}{} {:.1} images/s",
            clock(left),
            report.epoch,
            report.epoch_loss,
            dice.unwrap_or_default(),
            images as f64 / seconds,
        ));
        self.bar.set_position(step);
        stop::flow()
    }

    fn evaluation(&mut self, split: Split, done: usize, total: usize) -> ControlFlow<()> {
        let what = match split {
            Split::Val => "validating",
            Split::Test | Split::Train => "testing",
        };
        self.bar.set_message(format!("{what} {done}/{total}"));
        stop::flow()
    }

    fn epoch(&mut self, metrics: &EpochMetrics) -> ControlFlow<()> {
        self.dice = metrics.val_dice.or(self.dice);
        self.start = self.start.map(|_| self.now);
        let mut text = format!("epoch {}: loss {:.4}", metrics.epoch, metrics.train_loss);
        if let Some(loss) = metrics.val_loss {
            text += &format!(", validation loss {loss:.4}");
        }
        if let Some(dice) = metrics.val_dice {
            text += &format!(", Dice {dice:.4}");
        }
        self.print(&text);
        stop::flow()
    }

    fn message(&mut self, text: &str) {
        self.print(text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A time as `1:02:03` or `2:03`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}
