//! `vlsm data prompts`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use rayon::prelude::*;
use vlsm_data::{
    Annotation, DataConfig, Dataset, Description, FindingKind, Format, PromptChoice, Split,
    annotate, write_annotations,
};

use vlsm_image::ImageError;
use vlsm_image::fs::{refuse_occupied, sweep_parts, write_folder};

use crate::commands::shared::{data_recipe, report_findings};
use crate::output::{key_value_table, print, progress_bar, table};

/// How many words of a kind the summary lists.
const SHOWN: usize = 6;

/// Write prompts for a folder of images and masks, as annotation files.
///
/// Writes prompts p0 to p6 of the published format, such as "one medium yellow round polyp, located
/// in right of the image". You give the class; number, size, shape and position are read from the
/// mask, and the colour from the image under it. p2 to p6 are oracle prompts: they use the
/// ground-truth mask and are unavailable at inference time; the field `oracle` of each entry lists
/// the words they use. p1 is the class name only. Masks are binary; for an empty mask every prompt
/// is the class name.
///
/// The files ROOT/anns/train.json, val.json and test.json turn the data set into one of format
/// `annotations`. Its splits come from `data.split`, or from the folders train, val and test.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm data prompts scans --class polyp
  vlsm data prompts scans --class \"foot ulcer\" \\
      --set data.masks=labels --set data.split.test=0.2
  vlsm data prompts scans --class polyp --force       # the folder has changed
  vlsm data prompts kvasir_polyp --class polyp \\
      --set data.format=annotations -o anns_own   # keep its splits")]
pub(crate) struct Args {
    /// The data set's folder.
    root: PathBuf,
    /// The name of what the masks show, as the prompts should use it.
    #[arg(long, value_name = "WORD")]
    class: String,
    /// The folder to write the annotation files to [default: ROOT/anns].
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace existing annotation files; those of splits that are now empty are deleted.
    #[arg(long)]
    force: bool,
    /// Accept a finding about masks or images by its name, such as inverted; can be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    accept: Vec<FindingKind>,
    /// Set a key of the recipe's `data` section; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let class = self.class.trim();
        if class.is_empty() {
            bail!("--class is empty; give the word that the prompts should use, such as polyp");
        }
        let config = self.config(class)?;
        let out = self.out.clone().unwrap_or_else(|| self.root.join("anns"));
        let files = Split::ALL.map(|split| annotation_file(&out, split));
        if let Some(file) = files.iter().find(|file| file.exists())
            && !self.force
        {
            bail!(
                "`{}` already exists; choose another folder with --output, or replace the annotations \
                 with --force",
                file.display()
            );
        }
        let dataset = Dataset::open(&config)?;
        report_findings(&dataset)?;
        // All are computed before the first file is replaced.
        let annotations = annotate_all(&config, &dataset, class)?;
        if refuse_occupied(&out).is_ok() {
            write_folder(&out, |out| write_splits(out, &annotations))?;
        } else {
            sweep_parts(&out);
            replace_splits(&out, &annotations)?;
        }
        print(&summary(&out, class, &annotations))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Where the samples come from. Existing annotations are ignored unless `data.format` asks for them.
    fn config(&self, class: &str) -> Result<DataConfig> {
        // The base is not used, but a recipe must name one.
        let mut config = data_recipe("-", &self.root, &self.set)?.data.config;
        let has_classes = config.classes.is_some() || self.root.join("classes.json").is_file();
        config.accept.extend(&self.accept);
        config.format = match config.format {
            Format::Auto if has_classes => Format::Classes,
            Format::Auto => Format::Folder,
            given => given,
        };
        if config.format == Format::Classes {
            bail!(
                "`{}` has masks of class ids, so the class names are already its prompts; if the masks \
                 are binary, add --set data.format=folder",
                self.root.display()
            );
        }
        // Samples need no prompts of their own.
        config.prompt = PromptChoice::Text(class.to_owned());
        Ok(config)
    }
}

/// Replaces the annotation files. All are removed before the first is written, and the training split is written last, so that a
/// process that is killed leaves no mixture of old and new splits, and nothing to train on.
fn replace_splits(out: &Path, annotations: &[Vec<Annotated>; 3]) -> vlsm_data::Result<()> {
    for split in Split::ALL {
        let file = annotation_file(out, split);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::write(&file, error).into());
            }
            _ => {}
        }
    }
    write_splits(out, annotations)
}

/// Writes the annotation file of each split that has samples.
fn write_splits(out: &Path, annotations: &[Vec<Annotated>; 3]) -> vlsm_data::Result<()> {
    for (split, annotations) in Split::ALL.into_iter().zip(annotations).rev() {
        if !annotations.is_empty() {
            let entries: Vec<Annotation> =
                annotations.iter().map(|(entry, _)| entry.clone()).collect();
            write_annotations(&annotation_file(out, split), &entries)?;
        }
    }
    Ok(())
}

fn annotation_file(folder: &Path, split: Split) -> PathBuf {
    folder.join(format!("{split}.json"))
}

/// An entry of an annotation file, and the description it was made from.
type Annotated = (Annotation, Description);

/// The annotations of the three splits, computed on all cores.
fn annotate_all(
    config: &DataConfig,
    dataset: &Dataset,
    class: &str,
) -> Result<[Vec<Annotated>; 3]> {
    let total = Split::ALL.map(|split| dataset.split(split).len());
    let bar = progress_bar("images", total.iter().sum());
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for (split, annotations) in Split::ALL.into_iter().zip(&mut all) {
        let made: Vec<vlsm_data::Result<Annotated>> = dataset
            .split(split)
            .par_iter()
            .map(|sample| {
                let annotation = annotate(config, split, sample, class);
                bar.inc(1);
                annotation
            })
            .collect();
        // The first error in the split's order is reported, whichever thread failed first.
        *annotations = made.into_iter().collect::<vlsm_data::Result<_>>()?;
    }
    Ok(all)
}

fn summary(out: &Path, class: &str, annotations: &[Vec<Annotated>; 3]) -> String {
    let is_empty = |(_, description): &&Annotated| description.count == 0;
    let rows: Vec<Vec<String>> = Split::ALL
        .into_iter()
        .zip(annotations)
        .map(|(split, annotations)| {
            let empty = annotations.iter().filter(is_empty).count();
            vec![
                split.to_string(),
                annotations.len().to_string(),
                empty.to_string(),
            ]
        })
        .collect();
    let all = || {
        annotations
            .iter()
            .flatten()
            .map(|(_, description)| description)
    };
    let single = |word: fn(&Description) -> Option<&'static str>| commonest(all().filter_map(word));
    format!("annotations of \"{class}\" in {}\n", out.display())
        + &table(&["split", "images", "empty masks"], &rows)
        + &key_value_table(&[
            (
                "number",
                commonest(all().map(|d| d.count).filter(|&n| n > 0)),
            ),
            ("size", commonest(all().flat_map(|d| d.sizes.clone()))),
            ("colour", single(|d| d.colour)),
            ("shape", single(|d| d.shape)),
            ("place", commonest(all().flat_map(|d| d.places.clone()))),
        ])
        + "these words are read from the masks: p2 to p6 are oracle prompts, p1 is not\n"
}

/// The most frequent words with their counts: `round 312, oval 120, ...`; ties in alphabetical order.
fn commonest<W: ToString>(words: impl Iterator<Item = W>) -> String {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in words {
        *counts.entry(word.to_string()).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut shown: Vec<String> = counts
        .iter()
        .take(SHOWN)
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    match counts.len() {
        0 => return "-".to_owned(),
        n if n > SHOWN => shown.push("...".to_owned()),
        _ => {}
    }
    shown.join(", ")
}
