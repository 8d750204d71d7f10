//! `vlsm demo`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use vlsm_data::synth::Domain;
use vlsm_train::demo::{Demo, DemoResult};
use vlsm_train::evaluate::MeanStd;

use super::shared::make_folder;
use crate::output::{note, print, table, thousands};

/// See the whole method work in a minute or two, without a model hub or a data set.
///
/// Draws a phantom domain that the builtin base has never seen, measures the base on it as it is
/// (zero-shot), trains dense adapters, shallow adapters and, to compare, the decoder, measures each
/// on images of its own, and writes a report with curves, metrics and pictures. A demo that was
/// interrupted goes on where it was.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm demo
  vlsm demo --domain ultrasound
  vlsm demo --quick")]
pub(crate) struct Args {
    /// What is drawn.
    #[arg(long, value_enum, default_value_t = Phantom::Endoscopy)]
    domain: Phantom,
    /// Fewer images and epochs, for a first look in half a minute.
    #[arg(long)]
    quick: bool,
    /// Determines images, adapters and order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The demo's folder [default: runs/demo-DOMAIN, with -quick behind it].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The phantom domains.
#[derive(Clone, Copy, ValueEnum)]
enum Phantom {
    /// Mucosa with folds, highlights and polyps
    Endoscopy,
    /// Speckled tissue with dark lesions and shadows
    Ultrasound,
    /// Streets with road, sky, cars and signs
    Street,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let started = Instant::now();
        let demo = Demo {
            domain: match self.domain {
                Phantom::Endoscopy => Domain::Endoscopy,
                Phantom::Ultrasound => Domain::Ultrasound,
                Phantom::Street => Domain::Street,
            },
            quick: self.quick,
            seed: self.seed,
        };
        let out = self.out.unwrap_or_else(|| {
            let quick = if self.quick { "-quick" } else { "" };
            PathBuf::from(format!("runs/demo-{}{quick}", demo.domain.name()))
        });
        make_folder(&out)?;
        let result = demo.run(&out, note)?;
        print(&report(&result))?;
        note(&format!("{:.0} s", started.elapsed().as_secs_f64()));
        Ok(ExitCode::SUCCESS)
    }
}

fn report(result: &DemoResult) -> String {
    let value = |metric: MeanStd, digits: usize| {
        format!("{:.digits$} ± {:.digits$}", metric.mean, metric.std)
    };
    let rows: Vec<Vec<String>> = result
        .rows
        .iter()
        .map(|row| {
            vec![
                row.name.to_owned(),
                value(row.full.dice, 3),
                value(row.full.iou, 3),
                value(row.full.hd95, 1),
                value(row.class.dice, 3),
                thousands(row.trained),
                row.seconds
                    .map_or("-".to_owned(), |seconds| format!("{seconds:.0}")),
            ]
        })
        .collect();
    let header = [
        "method", "Dice p6", "IoU p6", "HD95 p6", "Dice p1", "trained", "seconds",
    ];
    let images = result.rows.first().map_or(0, |row| row.full.samples);
    table(&header, &rows)
        + &format!(
            "Mean ± standard deviation over {images} test samples; HD95 in pixels; {} parameters in all.\n\
             p6 describes what is meant, p1 is the class word alone.\n\
             report: {}\n",
            thousands(result.total),
            result.report.display()
        )
}
