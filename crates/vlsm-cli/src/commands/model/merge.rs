//! `vlsm model merge`.

use std::path::PathBuf;

use anyhow::Result;
use vlsm_models::segments::{ClipBase, SegmentFile};
use vlsm_models::tensor_file::WrittenAs;
use vlsm_models::weights::for_each_parameter;
use vlsm_models::{AdapterFile, Base};

use crate::commands::shared::{check_new_base, check_no_base};
use crate::output::{print, thousands};

/// Merge trained weights, or changes of weights, into their base and save it as a new base.
///
/// Writes the same files as `vlsm model init`, in the format of Hugging Face or open_clip; for a run
/// of `vlsm segments train`, those of a CLIP. Adapter blocks (methods `dense` and `shallow`) and
/// prompt tokens cannot be merged, because the base has no layers for them; use their file with
/// --adapter instead.
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
        let device = vlsm_models::device("cpu")?;
        let written_as = match self.half {
            true => WrittenAs::F16,
            false => WrittenAs::F32,
        };
        if SegmentFile::is_one(&self.trained)? {
            let trained = SegmentFile::read(&self.trained)?;
            check_no_base(&self.out.join("model.safetensors"), self.force)?;
            let merged = ClipBase::load(&self.base, &device)?.merge(trained)?;
            merged.write(&self.out, written_as)?;
            let parameters = thousands(merged.parameters());
            print(&format!(
                "{}: {parameters} parameters\n",
                self.out.display()
            ))?;
            return Ok(());
        }
        let trained = AdapterFile::read(&self.trained)?;
        let base = Base::load(&self.base, &device)?;
        check_new_base(&self.out, &base.network.config(), self.force)?;
        let count = trained.tensors.len();
        let merged = base.merge(trained)?;
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
