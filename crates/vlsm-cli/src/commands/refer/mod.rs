//! `vlsm refer`.

mod chats;
mod found;
mod predict;
mod results;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub(super) use found::{Finder, Found};
pub(super) use results::case;
pub(super) use train::language_examples;

/// Choose the object that an expression means by a language model (LLM-wrapper): predict, train.
#[derive(Subcommand)]
pub(crate) enum Command {
    Predict(predict::Args),
    Train(train::Args),
    Chats(chats::Args),
}

impl Command {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Predict(args) => args.run(),
            Self::Train(args) => args.run(),
            Self::Chats(args) => args.run(),
        }
    }
}
