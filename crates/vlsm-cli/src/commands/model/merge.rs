//! `vlsm model merge`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vlsm_data::write_atomic_bytes;
use vlsm_models::tensor_file::{self, WrittenAs};
use vlsm_models::{AdapterFile, Base, MethodConfig, NetworkConfig, Profile, weights};

use crate::commands::shared::{make_folder, to_json};
use crate::output::{print, thousands};

/// Merge weights trained with `full`, `decoder` or `lora` into their base and save a new base.
///
/// Writes the same files as `vlsm model init`, in the format of Hugging Face or open_clip. Adapter
/// blocks cannot be merged: CLIPSeg has no layers for them, so they stay in their own file.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model merge runs/base_scenes/adapter.safetensors --base bases/tiny \\
      --half -o bases/trained")]
pub(crate) struct Args {
    /// The adapter file of a run with method `full`, `decoder` or `lora`.
    trained: PathBuf,
    /// The base it was trained from: a folder, a name on the hub, or builtin:tiny.
    #[arg(long)]
    base: String,
    /// The folder to write the new base to.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Write the weights in half precision: half the size, about three significant digits.
    #[arg(long)]
    half: bool,
    /// Overwrite an existing base.
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let mut trained = AdapterFile::read(&self.trained)?;
        let base = Base::load(&self.base, &vlsm_models::device("cpu")?)?;
        trained.check_base(&base.identity)?;
        let mut preprocessing = base.preprocessing.clone();
        preprocessing.image_size = trained.image_size.unwrap_or(preprocessing.image_size);
        let mut config = base.network.config();
        // The taps that it was trained with are its own from now on.
        if let NetworkConfig::ClipSeg(config) = &mut config
            && let Some(published) = config.published_taps.take()
            && trained.method.profile() == Profile::Paper
        {
            config.extract_layers = published;
        }
        let (weights_file, files) = config.files(&preprocessing);
        let path = self.out.join(weights_file);
        if path.exists() && !self.force {
            bail!(
                "`{}` is there already; choose another folder, or write over it by --force",
                path.display()
            );
        }
        let mut tensors = weights::export(&base.network, |_| true);
        let count = trained.tensors.len();
        let shape = base.network.config().shape(trained.method.profile());
        trained.fold(&shape, &mut tensors)?;
        let prefix = base.network.prefix();
        if trained.tensors.keys().any(|name| !name.starts_with(prefix)) {
            bail!(
                "`{}` holds adapter blocks, which are no part of a {}{}; keep it beside its base and name both (--base, \
                 --adapter)",
                self.trained.display(),
                shape.name,
                if matches!(trained.method, MethodConfig::Lora(_)) {
                    " (LoRA with `towers = \"vlc\"` has one on the text embedding, with \"vl\" none)"
                } else {
                    ""
                }
            );
        }
        for (name, tensor) in trained.tensors {
            let there = name
                .strip_prefix(prefix)
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
        make_folder(&self.out)?;
        for (name, value) in files {
            write_atomic_bytes(&self.out.join(name), to_json(&value)?.as_bytes())?;
        }
        if config.own_vocabulary().is_some() {
            let vocabulary = base.weights.with_file_name("tokenizer.json");
            let bytes = std::fs::read(&vocabulary)
                .with_context(|| format!("cannot read `{}`", vocabulary.display()))?;
            write_atomic_bytes(&self.out.join("tokenizer.json"), &bytes)?;
        }
        let tensors = config.in_files(tensors);
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
