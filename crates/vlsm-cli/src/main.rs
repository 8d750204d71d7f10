//! The command line: parses, calls the library, prints.

mod commands;
#[cfg(test)]
mod help_tests;
mod output;
mod stop;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use vlsm::InstructionSet;
use vlsm_alloc::MiMalloc;

use commands::Cli;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    vlsm_alloc::set_up();
    output::hide_caught_panics();
    let cli = Cli::parse();
    cli.verbosity.set();
    terminal::show_warnings();
    let run = || {
        InstructionSet::requested().map_err(anyhow::Error::msg)?;
        cli.command.run()
    };
    match run() {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
