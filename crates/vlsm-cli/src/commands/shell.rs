//! `vlsm completions` and `vlsm man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, shared::make_folder};
use crate::output::print;

/// Print a shell's completions of the commands and options.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm completions bash    # ~/.local/share/bash-completion/completions/vlsm
  vlsm completions zsh     # _vlsm in a folder of $fpath
  vlsm completions fish    # ~/.config/fish/completions/vlsm.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "vlsm", &mut text);
        print(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write the manual pages, one for each command.
#[derive(clap::Args)]
#[command(after_help = "Example:
  vlsm man -o man/man1       # read them with: man -M man vlsm-train")]
pub(crate) struct Man {
    /// The folder to write the pages to; pages of an earlier call are replaced.
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<ExitCode> {
        make_folder(&self.out)?;
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        self.write("vlsm", &command)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the page of a command and those of its own commands, such as `vlsm-data-check.1`.
    fn write(&self, name: &str, command: &Command) -> Result<()> {
        let path = self.out.join(format!("{name}.1"));
        let page = clap_mangen::Man::new(command.clone().display_name(name.to_owned()));
        let mut text = Vec::new();
        page.render(&mut text)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        vlsm_image::write_atomic_bytes(&path, &text)?;
        for child in command
            .get_subcommands()
            .filter(|child| !child.is_hide_set())
        {
            self.write(&format!("{name}-{}", child.get_name()), child)?;
        }
        Ok(())
    }
}
