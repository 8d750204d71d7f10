//! The commands, one file each.

mod cache;
mod data;
mod demo;
mod devices;
mod eval;
mod folder_study;
mod model;
mod predict;
mod refer;
mod segment_study;
mod segments;
mod shared;
mod shell;
mod shortcuts;
mod study;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::output::Verbosity;

/// Fine-tune and run vision-language segmentation models: a text prompt and an image go in, a mask
/// comes out.
#[derive(Parser)]
#[command(name = "vlsm", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Study(study::Args),
    #[command(subcommand)]
    Refer(refer::Command),
    #[command(subcommand)]
    Segments(segments::Command),
    #[command(subcommand)]
    Data(data::Command),
    #[command(subcommand)]
    Model(model::Command),
    Cache(cache::Args),
    Devices(devices::Args),
    Completions(shell::Completions),
    Man(shell::Man),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Demo(args) => args.run(),
            Self::Train(args) => args.run(),
            Self::Eval(args) => args.run(),
            Self::Predict(args) => args.run(),
            Self::Study(args) => args.run(),
            Self::Refer(command) => command.run(),
            Self::Segments(command) => command.run(),
            Self::Data(command) => command.run(),
            Self::Model(command) => command.run(),
            Self::Cache(args) => args.run(),
            Self::Devices(args) => args.run(),
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
        }
    }
}
