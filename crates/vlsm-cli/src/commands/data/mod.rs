//! `vlsm data`.

mod check;
mod generate;
mod prepare;
mod prompts;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// Check data sets, prepare public ones, draw phantoms, and write prompts.
#[derive(Subcommand)]
pub(crate) enum Command {
    Check(check::Args),
    Generate(generate::Args),
    Prepare(prepare::Args),
    Prompts(prompts::Args),
}

impl Command {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Check(args) => args.run(),
            Self::Generate(args) => args.run(),
            Self::Prepare(args) => args.run(),
            Self::Prompts(args) => args.run(),
        }
    }
}
