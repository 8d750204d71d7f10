//! `vlsm model merge`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use vlsm_data::write_atomic_bytes;
use vlsm_models::tensor_file::{self, WrittenAs};
use vlsm_models::{AdapterFile, Base, Network, weights};

use crate::commands::{make_folder, to_json};
use crate::output::{print, thousands};

/// Make a base of a base and of what methods `full` or `decoder` trained of it.
///
/// Writes config.json, preprocessor_config.json and model.safetensors, in Hugging Face format.
/// Adapters stay beside their base: they are no part of a CLIPSeg.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model merge runs/base_scenes/adapter.safetensors --base bases/tiny --half -o bases/trained")]
pub(crate) struct Args {
    /// What a run with method `full` or `decoder` trained.
    trained: PathBuf,
    /// The base it was trained from: a folder, a name on the hub, or builtin:tiny.
    #[arg(long)]
    base: String,
    /// The new base's folder.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write weights in half precision: half the size, three digits.
    #[arg(long)]
    half: bool,
    /// Write over a base that is there.
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let path = self.out.join("model.safetensors");
        if path.exists() && !self.force {
            bail!(
                "`{}` is there already; choose another folder, or write over it by --force",
                path.display()
            );
        }
        let trained = AdapterFile::read(&self.trained)?;
        if trained.method.has_adapters() {
            bail!(
                "`{}` holds adapters, which are no part of a CLIPSeg; keep it beside its base and \
                 name both (--base, --adapter)",
                self.trained.display()
            );
        }
        let base = Base::load(&self.base, &vlsm_train::device("cpu")?)?;
        trained.check_base(&base.identity)?;
        let mut tensors = weights::export(&base.network, |_| true);
        let count = trained.tensors.len();
        for (name, tensor) in trained.tensors {
            let there = name
                .strip_prefix("clipseg.")
                .and_then(|name| tensors.get_mut(name));
            match there {
                Some(there) if there.shape == tensor.shape => *there = tensor,
                _ => bail!(
                    "`{}`: tensor `{name}` does not fit base `{}`",
                    self.trained.display(),
                    self.base
                ),
            }
        }
        let mut preprocessing = base.preprocessing.clone();
        preprocessing.image_size = trained.image_size.unwrap_or(preprocessing.image_size);
        make_folder(&self.out)?;
        let Network::ClipSeg(clipseg) = &base.network;
        for (name, value) in [
            ("config.json", clipseg.config.to_json()),
            ("preprocessor_config.json", preprocessing.to_json()),
        ] {
            write_atomic_bytes(&self.out.join(name), to_json(&value)?.as_bytes())?;
        }
        // Transformers reads a file only with this entry.
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let written_as = if self.half {
            WrittenAs::F16
        } else {
            WrittenAs::F32
        };
        tensor_file::write_safetensors_as(&path, &tensors, &metadata, written_as)?;
        let parameters: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
        print(&format!(
            "{}: {} parameters, {count} of {} tensors trained\n",
            self.out.display(),
            thousands(parameters),
            tensors.len()
        ))?;
        Ok(())
    }
}
