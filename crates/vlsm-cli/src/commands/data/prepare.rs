//! `vlsm data prepare`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use vlsm_data::prepare::{Prepared, PublicSet, SplitBy, prepare};
use vlsm_data::{Split, SplitConfig};

use crate::output::{Counter, key_value_table, print, table};

/// Bring the download of a public data set into the format that is trained on.
///
/// Polyps, skin, feet, ultrasound and X-rays become annotations: images/, masks/ and anns/, with
/// prompts p0 to p6 as `vlsm data prompts` makes them (p1 is the class, the others are oracle
/// prompts), and the image names of each split in splits/. Street scenes become masks of class ids
/// with classes.json. Images are taken as they are; masks are PNGs of the image's size.
///
/// Splits are the official ones where the download has them, else a shuffle in the published
/// proportions. Without a name, lists the data sets; with a name alone, tells where its files are
/// downloaded and how they must lie.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm data prepare                                               # what there is
  vlsm data prepare busi                                          # where BUSI is downloaded
  vlsm data prepare busi --from Downloads/Dataset_BUSI_with_GT -o data/busi
  vlsm data prepare camvid --from Downloads/CamVid -o data/camvid")]
pub(crate) struct Args {
    /// The data set.
    #[arg(hide_possible_values = true)]
    name: Option<SetName>,
    /// The folder that its archives are unpacked in.
    #[arg(long, value_name = "DIR", requires = "name", requires = "out")]
    from: Option<PathBuf>,
    /// The new folder of the prepared data set.
    #[arg(short, long, value_name = "DIR", requires = "from")]
    out: Option<PathBuf>,
    /// Of the shuffle before the split, where there are no official splits.
    #[arg(long, default_value_t = SplitConfig::default().seed)]
    seed: u64,
    /// Split by the lists in a folder instead: train.txt, val.txt and test.txt with one image's
    /// name or stem a line, as in the splits/ of a prepared data set.
    #[arg(long, value_name = "DIR", requires = "from", conflicts_with = "seed")]
    splits: Option<PathBuf>,
    /// List the data sets.
    #[arg(long, conflicts_with = "name")]
    list: bool,
}

/// A data set by its name.
#[derive(Clone, Copy)]
struct SetName(&'static PublicSet);

impl ValueEnum for SetName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [SetName; PublicSet::ALL.len()] = {
            let mut all = [SetName(PublicSet::ALL[0]); PublicSet::ALL.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = SetName(PublicSet::ALL[place]);
                place += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.0.name.into())
    }
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let text = match (self.name, self.from, self.out) {
            (Some(SetName(set)), Some(from), Some(out)) => {
                let counter = Counter::new("images", 0);
                let split = self.splits.map_or(SplitBy::Seed(self.seed), SplitBy::Lists);
                let prepared = prepare(set, &from, &out, &split, |done, total| {
                    counter.set_of(done, total);
                })?;
                drop(counter);
                format!("{} in {}\n", set.title, out.display()) + &summary(&prepared)
            }
            (Some(SetName(set)), ..) => instructions(set),
            (None, ..) => {
                let row = |set: &&PublicSet| (set.name, set.title.to_owned());
                key_value_table(&PublicSet::ALL.iter().map(row).collect::<Vec<_>>())
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

fn instructions(set: &PublicSet) -> String {
    format!(
        "{}\ndownload: {}\nunpacked it lies like this:\n{}\nthen: vlsm data prepare {} --from DIR -o OUT\n",
        set.title, set.download, set.layout, set.name
    )
}
