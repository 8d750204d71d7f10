//! `vlsm data check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use vlsm_data::{CheckReport, FindingKind, Format, Severity, check};

use crate::commands::shared::{data_recipe, to_json};
use crate::output::{print, printable, table};

/// Report every problem of a data set in one pass.
///
/// Finds files that are missing or cannot be read, masks whose size differs from their image,
/// malformed annotations, empty masks and splits, images in several splits, and masks and images
/// that would train silently wrong: inverted masks, class ids without names, photographs as masks,
/// turned images, and others. The exit code is 1 if there are errors; warnings alone give 0.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm data check data/kvasir_polyp
  vlsm data check scans --format folder --set data.prompt=\"a lesion\" \\
      --set data.masks=labels")]
pub(crate) struct Args {
    /// The data set's folder.
    root: PathBuf,
    /// Its layout: auto, annotations, folder or classes.
    #[arg(long)]
    format: Option<Format>,
    /// Set a key of the recipe's `data` section; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Accept a finding about masks or images by its name, such as inverted; can be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    accept: Vec<FindingKind>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    errors: usize,
    warnings: usize,
    #[serde(flatten)]
    report: &'a CheckReport,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        // The base is not used, but a recipe must name one.
        let mut config = data_recipe("-", &self.root, &self.set)?.data.config;
        config.accept.extend(self.accept);
        config.format = self.format.unwrap_or(config.format);
        let report = check(&config);
        print(&if self.json {
            to_json(&Json {
                errors: report.errors(),
                warnings: report.warnings(),
                report: &report,
            })?
        } else {
            text(&report)
        })?;
        Ok(if report.is_usable() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn text(report: &CheckReport) -> String {
    let root = printable(&report.root.to_string_lossy());
    let mut text = format!("{root} ({})\n", report.format);
    let splits = [
        ("train", report.train),
        ("val", report.val),
        ("test", report.test),
    ];
    let rows: Vec<Vec<String>> = splits
        .iter()
        .map(|(name, counts)| {
            vec![
                (*name).to_owned(),
                counts.pairs.to_string(),
                counts.samples.to_string(),
            ]
        })
        .collect();
    text += &table(&["split", "pairs", "samples"], &rows);
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        text += &format!("{severity}: {}\n", printable(&finding.message));
    }
    let (errors, warnings) = (report.errors(), report.warnings());
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    text + &format!(
        "{errors} error{}, {warnings} warning{}\n",
        plural(errors),
        plural(warnings)
    )
}
