//! `vlsm data generate`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use vlsm_data::GenerateConfig;
use vlsm_synth::{Domain, write_classes, write_dataset};

use crate::output::{print, progress_bar};

/// Draw a data set and write it in the published format.
///
/// Scenes hold objects of different shape, colour, size, position and texture, with prompts that
/// pick some of them; builtin:tiny was trained on such scenes. The other domains are phantoms that
/// imitate real images, with prompts p0 to p6. To use the same drawings without writing files, give
/// builtin:scenes, builtin:endoscopy, builtin:ultrasound or builtin:street as the data set.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm data generate endoscopy -o data/endoscopy \\
      --train 100 --val 20 --test 50
  vlsm data generate scenes --seed 9 --train 0 --val 0 --test 200 \\
      -o data/scenes
  vlsm data generate scenes --classes -o data/objects")]
pub(crate) struct Args {
    /// What to draw.
    domain: DomainName,
    /// The folder to write the data set to; it must be empty or not exist.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: PathBuf,
    /// Write one mask of class ids for each image of scenes, instead of prompts with masks. A class is
    /// a colour and a shape, such as "red circle"; use it with `vlsm segments` and `eval --semantic`.
    #[arg(long)]
    classes: bool,
    /// Seed of the drawings.
    #[arg(long, default_value_t = GenerateConfig::default().seed)]
    seed: u64,
    /// Side of the square images, in pixels.
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().side)]
    side: usize,
    /// Number of training images.
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().train)]
    train: usize,
    /// Number of validation images.
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().val)]
    val: usize,
    /// Number of test images.
    #[arg(long, value_name = "N", default_value_t = GenerateConfig::default().test)]
    test: usize,
}

/// A domain by its name.
#[derive(Clone, Copy)]
struct DomainName(Domain);

impl ValueEnum for DomainName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [DomainName; Domain::ALL.len()] = {
            let mut all = [DomainName(Domain::Scenes); Domain::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = DomainName(Domain::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.0.name().into())
    }
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = GenerateConfig {
            seed: self.seed,
            side: self.side,
            train: self.train,
            val: self.val,
            test: self.test,
        };
        config.validate()?;
        let total = config.train + config.val + config.test;
        if self.classes && self.domain.0 != Domain::Scenes {
            bail!(
                "--classes is for scenes; `{}` has one kind of object, or objects without names",
                self.domain.0.name()
            );
        }
        let bar = progress_bar("drawing", total);
        match self.classes {
            true => write_classes(&config, &self.out, || bar.inc(1))?,
            false => write_dataset(self.domain.0, &config, &self.out, || bar.inc(1))?,
        }
        drop(bar);
        print(&format!(
            "{}: {} training, {} validation and {} test images of {} x {} pixels, seed {}\n",
            self.out.display(),
            config.train,
            config.val,
            config.test,
            config.side,
            config.side,
            config.seed
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
