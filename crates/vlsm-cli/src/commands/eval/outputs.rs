//! The files that `vlsm eval` writes.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use vlsm_image::fs::refuse_occupied;
use vlsm_train::RunFolder;

use super::Args;
use crate::commands::shared::{check_new_file, make_folder, make_parent};
use crate::output::{note, print};

impl Args {
    /// Refuses to overwrite what an earlier call wrote, unless `--force` is given.
    pub(super) fn check_outputs(&self) -> Result<()> {
        for file in self.csv.iter().chain(&self.report) {
            check_new_file(file, self.force)?;
        }
        let masks = self.masks.iter().filter(|_| !self.force);
        for folder in masks.filter(|folder| folder.exists()) {
            if refuse_occupied(folder).is_err() {
                bail!(
                    "`{}` has files already; choose another folder with --masks, or overwrite those of the same names with --force",
                    folder.display()
                );
            }
        }
        Ok(())
    }

    /// Creates the folders of the output files.
    pub(super) fn make_folders(&self) -> Result<()> {
        for file in self.csv.iter().chain(&self.report) {
            make_parent(file)?;
        }
        for folder in self.masks.iter() {
            make_folder(folder)?;
        }
        Ok(())
    }

    /// Where to write the report, if at all. The run's own report is only for the run's model and data.
    pub(super) fn report_file(&self) -> Option<PathBuf> {
        let is_own = self.data.is_none()
            && self.base.is_none()
            && self.adapter.is_none()
            && self.set.is_empty();
        self.report.clone().or_else(|| {
            let path = self.run.clone().filter(|_| is_own)?;
            Some(RunFolder { path }.eval_report())
        })
    }

    /// Prints where the report is. An error is fatal only if the user asked for the report: the
    /// scores are already printed.
    pub(super) fn print_report_path(&self, written: Result<()>, file: &Path) -> Result<()> {
        match written {
            Err(error) if self.report.is_none() => {
                note(&format!("the report was not written: {error:#}"));
            }
            Err(error) => return Err(error),
            Ok(()) if self.json => {}
            Ok(()) => print(&format!("report: {}\n", file.display()))?,
        }
        Ok(())
    }
}
