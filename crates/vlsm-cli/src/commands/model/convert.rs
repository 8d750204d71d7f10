//! `vlsm model import` and `vlsm model export`.

use std::path::PathBuf;

use anyhow::Result;
use vlsm_models::{AdapterFile, Base, Model};

use crate::commands::shared::make_parent;
use crate::output::{note, print, thousands};

/// Make an adapter file of a checkpoint of the published code (PyTorch Lightning's .ckpt).
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model import epoch=12.ckpt --base CIDAS/clipseg-rd64-refined -o adapter.safetensors")]
pub(crate) struct ImportArgs {
    /// The checkpoint.
    checkpoint: PathBuf,
    /// The adapter file.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The base it belongs to: a folder, or a name on the hub. The parameters are then held against
    /// it, and the file will say that it belongs to this base.
    #[arg(long)]
    base: Option<String>,
}

impl ImportArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut adapter = AdapterFile::read(&self.checkpoint)?;
        if let Some(name) = &self.base {
            let base = Base::load(name, &vlsm_train::device("cpu")?)?;
            Model::with_adapter(&base, adapter.clone())?;
            adapter.base = Some(base.identity);
        }
        make_parent(&self.out)?;
        adapter.write(&self.out)?;
        print_summary(&adapter, &self.out)
    }
}

/// Write an adapter's parameters alone, under their published names, for PyTorch.
///
/// The file is what `safetensors.torch.load_file` and the published code's `load_state_dict(...,
/// strict=False)` take.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model export runs/clipseg_dense_vlc/adapter.safetensors -o for_pytorch.safetensors")]
pub(crate) struct ExportArgs {
    /// The adapter file.
    adapter: PathBuf,
    /// The bare file.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl ExportArgs {
    pub(super) fn run(self) -> Result<()> {
        let adapter = AdapterFile::read(&self.adapter)?;
        if adapter.method.has_adapters() && !adapter.method.as_published() {
            note(
                "note: this adapter was not trained as published (profile, layers or form differ); \
                 the published code computes something else with these parameters",
            );
        }
        make_parent(&self.out)?;
        adapter.write_bare(&self.out)?;
        print_summary(&adapter, &self.out)
    }
}

fn print_summary(adapter: &AdapterFile, path: &std::path::Path) -> Result<()> {
    let parameters = adapter.tensors.values().map(|tensor| tensor.data.len());
    print(&format!(
        "{}: {} tensors, {} parameters\n",
        path.display(),
        adapter.tensors.len(),
        thousands(parameters.sum())
    ))?;
    Ok(())
}
