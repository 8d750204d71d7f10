//! `metrics.jsonl`: one line per step and per epoch.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Result, TrainError};

/// The file, open at its end.
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    hash: Xxh3,
}

impl MetricsFile {
    /// Opens the file after its first `bytes` bytes, whose digest must be `digest`. Later bytes were written after the checkpoint and
    /// will be written again, so they are cut off.
    ///
    /// # Errors
    /// If the file cannot be written, is shorter, or differs.
    pub(crate) fn open(path: PathBuf, bytes: u64, digest: u64) -> Result<Self> {
        let mut hash = Xxh3::new();
        let mut open = || {
            let mut file = File::options()
                .create(true)
                .read(true)
                .write(true)
                .truncate(false)
                .open(&path)?;
            let mut kept = Vec::new();
            (&mut file).take(bytes).read_to_end(&mut kept)?;
            hash.update(&kept);
            let whole = kept.len() as u64 == bytes && (bytes == 0 || hash.digest() == digest);
            if whole {
                file.set_len(bytes)?;
                file.seek(SeekFrom::End(0))?;
            }
            Ok((file, whole))
        };
        match open() {
            Err(source) => Err(TrainError::Write { path, source }),
            Ok((_, false)) => Err(TrainError::Run {
                path,
                message: format!(
                    "differs in the first {bytes} bytes from what the checkpoint was written with: it was cut, edited or replaced; \
                     restore it, or start again in another folder"
                ),
            }),
            Ok((file, true)) => Ok(Self {
                path,
                file,
                bytes,
                hash,
            }),
        }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut write = || {
            let mut text = serde_json::to_string(line)?;
            text.push('\n');
            self.file.write_all(text.as_bytes())?;
            self.bytes += text.len() as u64;
            self.hash.update(text.as_bytes());
            Ok(())
        };
        write().map_err(|source| self.failed(source))
    }

    /// Writes all lines to disk. Returns the number of bytes and their digest.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn sync(&self) -> Result<(u64, u64)> {
        self.file
            .sync_data()
            .map_err(|source| self.failed(source))?;
        Ok((self.bytes, self.hash.digest()))
    }

    fn failed(&self, source: std::io::Error) -> TrainError {
        TrainError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_the_checkpoint_are_cut_and_a_changed_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::open(path.clone(), 0, 0).unwrap();
        file.write(&1).unwrap();
        let (bytes, digest) = file.sync().unwrap();
        file.write(&2).unwrap();
        let mut file = MetricsFile::open(path.clone(), bytes, digest).unwrap();
        file.write(&3).unwrap();
        let (bytes, digest) = file.sync().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n3\n");
        for changed in ["2\n3\n", "1\n"] {
            std::fs::write(&path, changed).unwrap();
            let error = MetricsFile::open(path.clone(), bytes, digest)
                .err()
                .unwrap();
            assert!(error.to_string().contains("metrics.jsonl"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), changed);
        }
    }
}
