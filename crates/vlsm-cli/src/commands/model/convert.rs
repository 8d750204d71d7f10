//! `vlsm model import` and `vlsm model export`.

use std::path::PathBuf;

use anyhow::Result;
use vlsm_models::{AdapterFile, Base, Model};

use crate::commands::shared::make_parent;
use crate::output::{note, print, thousands};

/// Convert a checkpoint of the published code (a .ckpt of PyTorch Lightning) to an adapter file.
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
    /// checked against the base, and the adapter file records the base.
    #[arg(long)]
    base: Option<String>,
}

impl ImportArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut adapter = AdapterFile::read(&self.checkpoint)?;
        if let Some(name) = &self.base {
            let base = Base::load(name, &vlsm_models::device("cpu")?)?;
            Model::with_adapter(&base, adapter.clone())?;
            adapter.base = Some(base.identity);
        }
        make_parent(&self.out)?;
        adapter.write(&self.out)?;
        print_summary(&adapter, &self.out)
    }
}

/// Write an adapter's parameters for PyTorch, under their published names and without metadata.
///
/// Load the file with `safetensors.torch.load_file`, and the result into the published code with
/// `load_state_dict(..., strict=False)`.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model export runs/clipseg_dense_vlc/adapter.safetensors \\
      -o for_pytorch.safetensors")]
pub(crate) struct ExportArgs {
    /// The adapter file.
    adapter: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl ExportArgs {
    pub(super) fn run(self) -> Result<()> {
        let adapter = AdapterFile::read(&self.adapter)?;
        if !adapter.method.as_published() {
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
