//! `vlsm model init`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use vlsm_data::write_atomic_bytes;
use vlsm_models::san::SanConfig;
use vlsm_models::tokenizer::wordpiece;
use vlsm_models::{
    ClipSegConfig, CrisConfig, NetworkConfig, Preprocessing, biomedclip, tensor_file,
};

use crate::commands::shared::{make_folder, to_json};
use crate::output::{print, thousands};

/// Input side of `CIDAS/clipseg-rd64-refined`, whose position embeddings are for 224 pixels.
const RD64_REFINED_SIZE: usize = 352;

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
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Overwrite an existing base.
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (config, preprocessing) = self.config()?;
        let (weights, mut files) = config.files(&preprocessing);
        let weights = self.out.join(weights);
        if weights.exists() && !self.force {
            bail!(
                "`{}` is there already; choose another folder, or write over it by --force",
                weights.display()
            );
        }
        let tensors = config.in_files(config.random_weights(self.seed));
        let parameters = tensors.values().map(|tensor| tensor.data.len()).sum();
        make_folder(&self.out)?;
        if let Some(size) = config.own_vocabulary() {
            files.push(("tokenizer.json", wordpiece::letters(size)));
        }
        for (name, value) in files {
            write_atomic_bytes(&self.out.join(name), to_json(&value)?.as_bytes())?;
        }
        // Transformers reads a file only with this entry.
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        tensor_file::write_safetensors(&weights, &tensors, &metadata)?;
        print(&format!(
            "{}: {} parameters, seed {}, input {} x {} pixels\n",
            self.out.display(),
            thousands(parameters),
            self.seed,
            preprocessing.image_size,
            preprocessing.image_size,
        ))?;
        Ok(())
    }

    fn config(&self) -> Result<(NetworkConfig, Preprocessing)> {
        let config = match self.config.as_str() {
            "clipseg-rd64-refined" => {
                let config = ClipSegConfig::rd64_refined();
                let preprocessing = Preprocessing {
                    image_size: RD64_REFINED_SIZE,
                    ..config.preprocessing()
                };
                return Ok((NetworkConfig::ClipSeg(config), preprocessing));
            }
            "tiny" => NetworkConfig::ClipSeg(ClipSegConfig::tiny()),
            "biomedclipseg" => NetworkConfig::ClipSeg(biomedclip::biomedclipseg()),
            "san" => NetworkConfig::San(SanConfig::default()),
            "cris" => NetworkConfig::Cris(CrisConfig::default()),
            file if Path::new(file).is_file() => NetworkConfig::read(Path::new(file))?,
            other => bail!(
                "--config {other}: neither clipseg-rd64-refined, nor tiny, nor biomedclipseg, nor san, nor cris, nor a file \
                 that is there"
            ),
        };
        let preprocessing = config.preprocessing();
        Ok((config, preprocessing))
    }
}
