//! `vlsm demo`.

mod llm_wrapper;
mod opendas;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use vlsm_synth::Domain;
use vlsm_train::demo::{Demo, DemoResult};
use vlsm_train::evaluate::MeanStd;
use vlsm_train::report::SystemReport;

use self::llm_wrapper::LlmWrapperDemo;
use self::opendas::OpendasDemo;
use super::shared::make_folder;
use crate::output::{notice, print, table, thousands};
use crate::stop;
use crate::terminal::Terminal;

/// Show the whole method in a minute or two, without a download or a data set.
///
/// Draws images of a domain that the builtin base has never seen and evaluates the base on them
/// (zero-shot). Then trains dense adapters, shallow adapters and, for comparison, the decoder, and
/// evaluates each on separate test images. Writes a report with curves, metrics and pictures. An
/// interrupted demo resumes where it stopped.
///
/// With `--system llm-wrapper` a language model chooses among the masks that the builtin base finds
/// for expressions such as "the circle to the left of the largest square" (see `vlsm refer`).
///
/// With `--system opendas` a CLIP learns to name segments of small images, some of whose classes
/// training does not see (see `vlsm segments`).
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm demo
  vlsm demo --domain ultrasound
  vlsm demo --quick
  vlsm demo --system llm-wrapper
  vlsm demo --system opendas")]
pub(crate) struct Args {
    /// What to show.
    #[arg(long, value_enum, default_value_t = System::Adapters)]
    system: System,
    /// The kind of images to draw for adapters.
    #[arg(long, value_enum, default_value_t = Phantom::Endoscopy)]
    domain: Phantom,
    /// Use fewer images and epochs; takes half a minute.
    #[arg(long)]
    quick: bool,
    /// Seed of the images, the adapters and the order of the images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of the demo [default: runs/demo-DOMAIN or runs/demo-SYSTEM, with -quick].
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The systems.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum System {
    /// Adapters on images that the base has never seen
    Adapters,
    /// A language model that chooses among masks
    LlmWrapper,
    /// A CLIP that learns to name segments
    Opendas,
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
        let folder = |name: &str| {
            let quick = if self.quick { "-quick" } else { "" };
            PathBuf::from(format!("runs/demo-{name}{quick}"))
        };
        let system = match self.system {
            System::Adapters => None,
            System::LlmWrapper => {
                let out = self.out.clone().unwrap_or_else(|| folder("llm-wrapper"));
                make_folder(&out)?;
                let (quick, seed) = (self.quick, self.seed);
                Some(LlmWrapperDemo { quick, seed, out }.run()?)
            }
            System::Opendas => {
                let out = self.out.clone().unwrap_or_else(|| folder("opendas"));
                make_folder(&out)?;
                let (quick, seed) = (self.quick, self.seed);
                Some(OpendasDemo { quick, seed, out }.run()?)
            }
        };
        match system {
            Some(Ok(text)) => {
                print(&text)?;
                notice(&format!("{:.0} s", started.elapsed().as_secs_f64()));
                return Ok(ExitCode::SUCCESS);
            }
            Some(Err(code)) => return Ok(code),
            None => {}
        }
        let demo = Demo {
            domain: match self.domain {
                Phantom::Endoscopy => Domain::Endoscopy,
                Phantom::Ultrasound => Domain::Ultrasound,
                Phantom::Street => Domain::Street,
            },
            quick: self.quick,
            seed: self.seed,
        };
        let out = self.out.clone();
        let out = out.unwrap_or_else(|| folder(demo.domain.name()));
        make_folder(&out)?;
        let show = || demo.run(&out, &mut Terminal::new());
        let result = match stop::stoppable(None, show)? {
            Ok(result) => result,
            Err(code) => return Ok(code),
        };
        print(&report(&result))?;
        notice(&format!("{:.0} s", started.elapsed().as_secs_f64()));
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
             p6 describes the object with words read from its mask (an oracle), p1 is the class name only.\n\
             report: {}\n",
            thousands(result.total),
            result.report.display()
        )
}

/// Writes a report's page into the demo's folder. The text to print: its table, its notes and the path of the page.
fn write_report(report: &SystemReport, out: &Path) -> Result<String> {
    let page = out.join("report.html");
    report.write(&page)?;
    let header: Vec<&str> = report.header.iter().map(String::as_str).collect();
    Ok(format!(
        "{}{}\nreport: {}\n",
        table(&header, &report.rows),
        report.notes.join("\n"),
        page.display()
    ))
}
