//! `vlsm model merge`.

use std::path::PathBuf;

use anyhow::Result;
use vlsm_models::tensor_file::WrittenAs;
use vlsm_models::weights::for_each_parameter;
use vlsm_models::{AdapterFile, Base};

use crate::commands::shared::check_new_base;
use crate::output::{print, thousands};

/// Merge trained weights, or changes of weights, into their base and save it as a new base.
///
/// Writes the same files as `vlsm model init`, in the format of Hugging Face or open_clip. Adapter
/// blocks (methods `dense` and `shallow`) and prompt tokens cannot be merged, because the base has
/// no layers for them; use their file with --adapter instead.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm model merge runs/base_scenes/adapter.safetensors --base bases/tiny \\
      --half -o bases/trained")]
pub(crate) struct Args {
    /// The adapter file of a run.
    trained: PathBuf,
    /// The base it was trained from: a folder, a name on the hub, or builtin:tiny.
    #[arg(long)]
    base: String,
    /// The folder to write the new base to.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
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
        let trained = AdapterFile::read(&self.trained)?;
        let base = Base::load(&self.base, &vlsm_models::device("cpu")?)?;
        check_new_base(&self.out, &base.network.config(), self.force)?;
        let count = trained.tensors.len();
        let merged = base.merge(trained)?;
        let written_as = if self.half {
            WrittenAs::F16
        } else {
            WrittenAs::F32
        };
        merged.write(&self.out, written_as)?;
        let mut tensors = 0;
        for_each_parameter(&merged.network, |_, _| tensors += 1);
        print(&format!(
            "{}: {} parameters, {count} of {tensors} tensors trained\n",
            self.out.display(),
            thousands(merged.parameters()),
        ))?;
        Ok(())
    }
}
