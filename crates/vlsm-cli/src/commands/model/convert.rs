//! `vlsm model import` and `vlsm model export`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vlsm_models::methods::Tensors;
use vlsm_models::tensor_file::{pytorch_metadata, write_safetensors};
use vlsm_models::{AdapterFile, Architecture, Base, Profile, base};

use crate::commands::shared::{check_new_file, make_parent};
use crate::output::{note, print, thousands};

/// Convert a checkpoint of the published code to an adapter file.
///
/// Reads PyTorch Lightning's .ckpt files and what `vlsm model export` writes: adapter blocks, or a
/// whole model whose decoder was trained.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model import epoch=12.ckpt --base CIDAS/clipseg-rd64-refined \\
      -o adapter.safetensors")]
pub(crate) struct ImportArgs {
    /// The checkpoint file.
    checkpoint: PathBuf,
    /// The adapter file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The base it was trained on: a folder, or a name on the hub. With it, the parameters are
    /// checked against the base, and the adapter file records the base. SAN and CRIS need it.
    #[arg(long)]
    base: Option<String>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

impl ImportArgs {
    pub(super) fn run(self) -> Result<()> {
        check_new_file(&self.out, self.force)?;
        let base = self.base.as_deref().map(load).transpose()?;
        let adapter = AdapterFile::import(&self.checkpoint, base.as_ref())?;
        make_parent(&self.out)?;
        adapter.write(&self.out)?;
        print_summary(&adapter.tensors, &self.out)
    }
}

/// Write an adapter, or a base, for the published PyTorch code, under the names of its state dict.
///
/// Load the file with `safetensors.torch.load_file`, and the result with `load_state_dict`. Adapter
/// blocks (methods `dense` and `shallow`) are written alone: pass `strict=False`, since the base is
/// not in the file. Everything else is written as a whole model, with the trained parameters in it.
/// Parameters that the published code has no module for are refused.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm model export runs/clipseg_dense_vlc/adapter.safetensors \\
      -o for_pytorch.safetensors
  vlsm model export bases/trained -o for_pytorch.safetensors")]
pub(crate) struct ExportArgs {
    /// The adapter file, or a base: a folder, a file of weights, or a name on the hub.
    #[arg(value_name = "ADAPTER_OR_BASE")]
    model: String,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The base of the adapter [default: the one that the adapter file names].
    #[arg(long)]
    base: Option<String>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

impl ExportArgs {
    pub(super) fn run(self) -> Result<()> {
        check_new_file(&self.out, self.force)?;
        let path = Path::new(&self.model);
        let tensors = if path.is_file() && !base::is_base(path)? {
            self.adapter(AdapterFile::read(path)?)?
        } else {
            let base = load(&self.model)?;
            note_arithmetic(&base, Profile::Default);
            base.published(Profile::Default)
        };
        make_parent(&self.out)?;
        write_safetensors(&self.out, &tensors, &pytorch_metadata())?;
        print_summary(&tensors, &self.out)
    }

    fn adapter(&self, adapter: AdapterFile) -> Result<Tensors> {
        adapter.check_published()?;
        let recorded = adapter.base.as_ref().map(|base| base.name.clone());
        let base = match self.base.clone().or(recorded) {
            Some(name) => Some(load(&name).with_context(|| {
                format!("the adapter's base is needed to export it, and `{name}` cannot be loaded; name it with --base")
            })?),
            None => None,
        };
        if let Some(base) = &base {
            note_arithmetic(base, adapter.method.profile());
        }
        Ok(adapter.published(base.as_ref())?)
    }
}

fn load(name: &str) -> Result<Base> {
    Ok(Base::load(name, &vlsm_models::device("cpu")?)?)
}

/// Says where the published code computes something else with the parameters than vlsm did.
fn note_arithmetic(base: &Base, profile: Profile) {
    let architecture = base.network.architecture();
    let differs = matches!(architecture, Architecture::BiomedClip | Architecture::Cris);
    if differs && profile == Profile::Default {
        note(&format!(
            "note: the published {} computes as profile \"paper\" does, so its masks can differ from those of this model",
            architecture.name()
        ));
    }
}

fn print_summary(tensors: &Tensors, path: &Path) -> Result<()> {
    let parameters = tensors.values().map(|tensor| tensor.data.len());
    print(&format!(
        "{}: {} tensors, {} parameters\n",
        path.display(),
        tensors.len(),
        thousands(parameters.sum())
    ))?;
    Ok(())
}
