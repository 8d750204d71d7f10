//! `vlsm data generate`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use vlsm_data::GenerateConfig;
use vlsm_synth::{Domain, write_classes, write_dataset, write_relations};

use crate::output::{print, progress_bar};

/// Draw a data set and write it in the published format.
///
/// Scenes hold objects of different shape, colour, size, position and texture, with prompts that
/// pick some of them; builtin:tiny was trained on such scenes. The other domains are phantoms that
/// imitate real images, with prompts p0 to p6. To use the same drawings without writing files, give
/// builtin:scenes, builtin:endoscopy, builtin:ultrasound or builtin:street as the data set.
///
/// Relations are scenes with expressions such as "the circle to the left of the largest square", as
/// files of queries for `vlsm refer`: test.jsonl and val.jsonl with images, and train.jsonl with lists
/// of candidates and no images, to train a language model on.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm data generate endoscopy -o data/endoscopy \\
      --train 100 --val 20 --test 50
  vlsm data generate scenes --seed 9 --train 0 --val 0 --test 200 \\
      -o data/scenes
  vlsm data generate scenes --classes -o data/objects
  vlsm data generate relations --train 1000 --test 100 -o data/relations")]
pub(crate) struct Args {
    /// What to draw.
    domain: Kind,
    /// The folder to write the data set to; it must be empty or not exist.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: PathBuf,
    /// Write one mask of class ids for each image, instead of prompts with masks, for `vlsm segments`
    /// and `eval --semantic`. The classes of scenes are a colour and a shape, such as "red circle";
    /// those of street are sky, building, pole, road, pavement, tree, sign and car.
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

/// What can be drawn.
#[derive(Clone, Copy)]
enum Kind {
    Domain(Domain),
    Relations,
}

impl Kind {
    const ALL: [Self; Domain::ALL.len() + 1] = {
        let mut all = [Self::Relations; Domain::ALL.len() + 1];
        let mut index = 0;
        while index < Domain::ALL.len() {
            all[index] = Self::Domain(Domain::ALL[index]);
            index += 1;
        }
        all
    };

    fn has_classes(self) -> bool {
        matches!(self, Self::Domain(domain) if domain.class_names().is_some())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Domain(domain) => domain.name(),
            Self::Relations => "relations",
        }
    }
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.name().into())
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
        if self.classes && !self.domain.has_classes() {
            bail!(
                "--classes is for scenes and street; `{}` has no classes",
                self.domain.name()
            );
        }
        let bar = progress_bar("drawing", total);
        let progress = || bar.inc(1);
        match self.domain {
            Kind::Domain(domain) if self.classes => {
                write_classes(domain, &config, &self.out, progress)?;
            }
            Kind::Domain(domain) => write_dataset(domain, &config, &self.out, progress)?,
            Kind::Relations => write_relations(&config, &self.out, progress)?,
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
