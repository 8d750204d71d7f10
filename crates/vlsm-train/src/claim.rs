//! A process's hold on a run's folder: no other process works on the run meanwhile, and a start that fails leaves nothing.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vlsm_image::fs::sweep_parts;

use crate::error::{Result, TrainError};
use crate::run_folder::RunFolder;

/// A process that only reads a run's state holds its lock for less than this.
const LOOK: Duration = Duration::from_millis(20);
/// Number of attempts to take a lock.
const LOOKS: usize = 5;

/// A locked run folder.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: RunFolder,
    /// Locked until it is closed.
    _lock: File,
    /// The folders that did not exist before, the run's own first. They and what is in the run's folder are removed on drop.
    created: Vec<PathBuf>,
    /// Whether the folder held a run before.
    resumes: bool,
}

impl Claim {
    /// [`take`](Self::take) for a training: refuses a folder that another process has locked or that `check` refuses.
    ///
    /// # Errors
    /// These, and if the folder cannot be written.
    pub(crate) fn for_training(
        folder: &RunFolder,
        check: impl Fn(&RunFolder) -> Result<()>,
    ) -> Result<Self> {
        check(folder)?;
        let claim = Self::take(folder)?.ok_or_else(|| {
            folder.error(
                "another process is training this run; wait for it to end, or stop it".into(),
            )
        })?;
        // Another process may have changed it since.
        check(claim.folder())?;
        Ok(claim)
    }

    /// Creates and locks a run's folder, and deletes what killed processes left unfinished in it. Returns `None` if another
    /// process has locked it.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn take(folder: &RunFolder) -> Result<Option<Self>> {
        let failed = |source| TrainError::Write {
            path: folder.path.clone(),
            source,
        };
        let created = missing_folders(&folder.path);
        std::fs::create_dir_all(&folder.path).map_err(failed)?;
        let Some(lock) = lock(&folder.lock()).map_err(failed)? else {
            return Ok(None);
        };
        let claim = Self {
            folder: folder.clone(),
            _lock: lock,
            created,
            resumes: folder.holds_run(),
        };
        for folder in [folder.path.clone(), folder.checkpoints()] {
            sweep_parts(&folder);
        }
        Ok(Some(claim))
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &RunFolder {
        &self.folder
    }
}

impl Drop for Claim {
    /// Removes what a failed start has written, so that the corrected command can use the same folder. Errors are ignored: what is
    /// left is not taken for a run.
    fn drop(&mut self) {
        let folder = &self.folder;
        // From its first step on, a training has lines of metrics.
        let stepped = std::fs::metadata(folder.metrics()).is_ok_and(|file| file.len() > 0);
        if stepped || self.resumes || folder.holds_run() {
            return;
        }
        for file in [folder.recipe(), folder.metrics(), folder.lock()] {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(folder.checkpoints());
        for folder in &self.created {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// A folder and those above it that do not exist, the deepest first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().take_while(|path| !path.exists());
    above
        .filter(|path| !path.as_os_str().is_empty())
        .map(Path::to_path_buf)
        .collect()
}

/// Opens a file to be locked, which is created if it does not exist.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

/// Locks a file; `None` if another process has locked it. Without locks on the file system it stays unlocked.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = lock_file(path)?;
    match repeated(|| file.try_lock()) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(
                "`{}`: this file system has no locks; make sure that no other process works on the run",
                path.display()
            );
            Ok(Some(file))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process works on the run.
pub(crate) fn is_claimed(folder: &RunFolder) -> bool {
    let lock = File::open(folder.lock()).map(|file| repeated(|| file.try_lock_shared()));
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}

/// Tries until a lock that is held for a moment is gone: that of a look, or the copy of a lock that a child has until it runs its own
/// program.
fn repeated(
    attempt: impl Fn() -> std::result::Result<(), TryLockError>,
) -> std::result::Result<(), TryLockError> {
    for _ in 1..LOOKS {
        match attempt() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_folder_is_refused_and_free_again_later() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder {
            path: root.path().join("runs/a"),
        };
        let claim = Claim::take(&folder).unwrap().unwrap();
        assert!(is_claimed(&folder));
        assert!(Claim::take(&folder).unwrap().is_none());
        drop(claim);
        assert!(!is_claimed(&folder));
        // The start left nothing, not even the folder above.
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_run_is_kept_and_its_leftovers_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder {
            path: root.path().into(),
        };
        std::fs::create_dir(folder.checkpoints()).unwrap();
        let parts = [&folder.path, &folder.checkpoints()].map(|path| path.join(".vlsm-x.part"));
        for file in parts.iter().chain([&folder.checkpoint()]) {
            std::fs::write(file, "x").unwrap();
        }
        let claim = Claim::take(&folder).unwrap().unwrap();
        assert!(claim.resumes && parts.iter().all(|part| !part.exists()));
        drop(claim);
        assert!(folder.checkpoint().exists());
    }
}
