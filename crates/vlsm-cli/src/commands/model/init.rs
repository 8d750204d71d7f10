//! `vlsm model init`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use vlsm_models::tensor_file::WrittenAs;
use vlsm_models::{Base, NetworkConfig, Preprocessing};

use crate::commands::shared::check_new_base;
use crate::output::{print, thousands};

/// Make a base with random weights, in Hugging Face format.
///
/// Use it for tests, for benchmarks, and to train from scratch with method `full`. Writes
/// config.json, preprocessor_config.json and model.safetensors. A BiomedCLIPSeg gets
/// open_clip_config.json, open_clip_model.safetensors and a tokenizer.json with a vocabulary of
/// single letters.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm model init --config clipseg-rd64-refined --seed 1 -o bases/random
  vlsm model init --config tiny -o bases/tiny
  vlsm model init --config biomedclipseg -o bases/biomed
  vlsm model init --config cris -o bases/cris
  vlsm model init --config my/config.json -o bases/mine")]
pub(crate) struct Args {
    /// clipseg-rd64-refined, tiny, biomedclipseg, san, cris, or a file: the config.json of a CLIPSeg,
    /// SAN or CRIS, or the open_clip_config.json of a BiomedCLIP.
    #[arg(long)]
    config: String,
    /// Seed of the random weights.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The folder to write the base to.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: PathBuf,
    /// Overwrite an existing base.
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (config, preprocessing) = self.config()?;
        check_new_base(&self.out, &config, self.force)?;
        let size = preprocessing.image_size;
        let device = vlsm_models::device("cpu")?;
        let base = Base::random(&config, preprocessing, self.seed, &device)?;
        base.write(&self.out, WrittenAs::F32)?;
        print(&format!(
            "{}: {} parameters, seed {}, input {size} x {size} pixels\n",
            self.out.display(),
            thousands(base.parameters()),
            self.seed,
        ))?;
        Ok(())
    }

    fn config(&self) -> Result<(NetworkConfig, Preprocessing)> {
        if let Some(preset) = NetworkConfig::preset(&self.config) {
            return Ok(preset);
        }
        let file = Path::new(&self.config);
        if !file.is_file() {
            bail!(
                "--config {}: neither an existing file nor one of {}",
                self.config,
                NetworkConfig::presets().join(", ")
            );
        }
        let config = NetworkConfig::read(file)?;
        let preprocessing = config.preprocessing();
        Ok((config, preprocessing))
    }
}
