//! `vlsm cache`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use vlsm_train::feature_cache::{clear, default_folder, usage};
use vlsm_train::text::bytes;

use crate::output::{key_value_table, print};

/// Show or delete the cached image features that training reuses in later epochs and other runs.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm cache
  vlsm cache clear
  vlsm cache clear --dir scratch/features

Without --dir the folder is $VLSM_CACHE/features if that variable is set, else
vlsm/features in the user's cache folder. Deleting features during a training
run is safe: they are computed again.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The folder, if the recipe sets `cache.dir`.
    #[arg(long, value_name = "FOLDER", global = true)]
    dir: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Delete all features in the folder, and nothing else.
    Clear,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let folder = self.dir.or_else(default_folder);
        let folder =
            folder.context("this user has no home folder; name the cache folder with --dir")?;
        let named = || format!("feature cache `{}`", folder.display());
        let (what, usage) = match self.action {
            None => ("images", usage(&folder).with_context(named)?),
            Some(Action::Clear) => ("images deleted", clear(&folder).with_context(named)?),
        };
        print(&key_value_table(&[
            ("folder", folder.display().to_string()),
            (what, usage.images.to_string()),
            ("size", bytes(usage.bytes)),
        ]))?;
        Ok(ExitCode::SUCCESS)
    }
}
