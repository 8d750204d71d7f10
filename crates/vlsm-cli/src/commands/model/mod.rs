//! `vlsm model`.

mod convert;
mod forward;
mod info;
mod init;
mod merge;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// Create, describe, run and convert models and adapters.
#[derive(Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Info(info::Args),
    Forward(forward::Args),
    Import(convert::ImportArgs),
    Export(convert::ExportArgs),
    Merge(merge::Args),
}

impl Command {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Init(args) => args.run(),
            Self::Info(args) => args.run(),
            Self::Forward(args) => args.run(),
            Self::Import(args) => args.run(),
            Self::Export(args) => args.run(),
            Self::Merge(args) => args.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}
