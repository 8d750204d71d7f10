//! `vlsm devices`.

use std::process::ExitCode;

use anyhow::Result;
use vlsm_train::text::{bytes, columns};

use crate::output::print;

/// List the devices of this machine that this build can use, as `--device` takes them, with their memory.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm devices")]
pub(crate) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let devices = vlsm_models::devices().into_iter();
        let lines = devices.map(|device| {
            let memory = device.memory.map(bytes).unwrap_or_default();
            vec![device.name, device.model, memory]
        });
        print(&columns(&lines.collect::<Vec<_>>(), 2))?;
        Ok(ExitCode::SUCCESS)
    }
}
