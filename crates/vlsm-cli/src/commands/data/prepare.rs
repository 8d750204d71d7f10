//! `vlsm data prepare`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use vlsm_data::{Split, SplitConfig};
use vlsm_prepare::{Prepared, PublicSet, ReferringSet, SplitBy, prepare, prepare_queries};

use crate::output::{key_value_table, print, progress_bar, table};

/// Convert a downloaded public data set to a format that vlsm can train on.
///
/// Medical data sets become annotations: images/, masks/ and anns/ with prompts p0 to p6 as in
/// `vlsm data prompts`, and the image names of each split in splits/. Street scenes become masks of
/// class ids with classes.json. Images are copied unchanged; masks become PNGs of the image's size.
/// Referring expressions (refcoco, refcoco+, refcocog) become queries for `vlsm refer`, a file for
/// each official split; their images stay in the download.
///
/// Official splits are used if the download has them, else a random split in the published
/// proportions. Without a name, lists the data sets. With a name alone, prints where to download
/// the files and which folders they must be in.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm data prepare                # list the data sets
  vlsm data prepare busi           # where to download BUSI, and its layout
  vlsm data prepare busi --from Downloads/Dataset_BUSI_with_GT -o data/busi
  vlsm data prepare camvid --from Downloads/CamVid -o data/camvid")]
pub(crate) struct Args {
    /// The name of the data set.
    #[arg(hide_possible_values = true)]
    name: Option<Set>,
    /// The folder with the unpacked download.
    #[arg(long, value_name = "DIR", requires = "name", requires = "out")]
    from: Option<PathBuf>,
    /// The folder to write the prepared data set to.
    #[arg(
        short = 'o',
        long = "output",
        alias = "out",
        value_name = "DIR",
        requires = "from"
    )]
    out: Option<PathBuf>,
    /// Seed for the random split, used if the data set has no official one.
    #[arg(long, default_value_t = SplitConfig::default().seed)]
    seed: u64,
    /// Folder with your own split: train.txt, val.txt and test.txt with one image name or stem per
    /// line, as in splits/ of a prepared data set.
    #[arg(long, value_name = "DIR", requires = "from", conflicts_with = "seed")]
    splits: Option<PathBuf>,
    /// List the data sets.
    #[arg(long, conflicts_with = "name")]
    list: bool,
}

/// A data set: of masks, or of referring expressions.
#[derive(Clone, Copy)]
enum Set {
    Masks(&'static PublicSet),
    Queries(&'static ReferringSet),
}

impl Set {
    const COUNT: usize = PublicSet::ALL.len() + ReferringSet::ALL.len();
    const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Masks(PublicSet::ALL[0]); Self::COUNT];
        let mut index = 0;
        while index < Self::COUNT {
            all[index] = match index.checked_sub(PublicSet::ALL.len()) {
                Some(index) => Self::Queries(ReferringSet::ALL[index]),
                None => Self::Masks(PublicSet::ALL[index]),
            };
            index += 1;
        }
        all
    };

    fn name(self) -> &'static str {
        match self {
            Self::Masks(set) => set.name,
            Self::Queries(set) => set.name,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Masks(set) => set.title,
            Self::Queries(set) => set.title,
        }
    }
}

impl ValueEnum for Set {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.name().into())
    }
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let text = match (self.name, self.from, self.out) {
            (Some(Set::Queries(set)), Some(from), Some(out)) => {
                let counts = prepare_queries(set, &from, &out)?.into_iter();
                let rows = counts.map(|(split, count)| vec![split, count.to_string()]);
                let rows: Vec<Vec<String>> = rows.collect();
                format!("{} in {}\n", set.title, out.display())
                    + &table(&["split", "queries"], &rows)
            }
            (Some(Set::Masks(set)), Some(from), Some(out)) => {
                let bar = progress_bar("images", 0);
                let split = self.splits.map_or(SplitBy::Seed(self.seed), SplitBy::Lists);
                let prepared = prepare(set, &from, &out, &split, |done, total| {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                })?;
                drop(bar);
                format!("{} in {}\n", set.title, out.display()) + &summary(&prepared)
            }
            (Some(set), ..) => instructions(set),
            (None, ..) => {
                let row = |set: &Set| (set.name(), set.title().to_owned());
                key_value_table(&Set::ALL.iter().map(row).collect::<Vec<_>>())
            }
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(prepared: &Prepared) -> String {
    let rows: Vec<Vec<String>> = Split::ALL
        .iter()
        .enumerate()
        .map(|(number, split)| {
            let counts = [prepared.images, prepared.samples, prepared.empty];
            let counts = counts.map(|counts| counts[number].to_string());
            [split.to_string()].into_iter().chain(counts).collect()
        })
        .collect();
    table(&["split", "images", "samples", "empty"], &rows) + &format!("splits: {}\n", prepared.rule)
}

fn instructions(set: Set) -> String {
    let (download, layout) = match set {
        Set::Masks(set) => (set.download, set.layout),
        Set::Queries(set) => (set.download, set.layout),
    };
    format!(
        "{}\ndownload: {download}\nlayout after unpacking:\n{layout}\nthen: vlsm data prepare {} --from DIR -o OUT\n",
        set.title(),
        set.name()
    )
}
