//! Answers of a language model, kept in a file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use vlsm_image::ImageError;
use vlsm_language::Answer;
use xxhash_rust::xxh3::xxh3_128;

use crate::backend::Backend;
use crate::error::Result;

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    answer: Answer,
}

/// The answers in a file, one on each line, by a digest of the language model and the prompt. Each is on disk before the next
/// question, so that an interrupted run asks none twice.
#[derive(Debug)]
pub struct Answers {
    path: PathBuf,
    kept: Mutex<(HashMap<String, Answer>, File)>,
}

impl Answers {
    /// Opens the file, or makes it. A line that a killed process left unfinished is removed.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn open(path: &Path) -> Result<Self> {
        let fault = |error| ImageError::write(path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(fault)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fault)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let answers = lines.map(|line| (line.key, line.answer)).collect();
        Ok(Self {
            path: path.into(),
            kept: Mutex::new((answers, file)),
        })
    }

    /// The key of a prompt to a language model.
    pub fn key(backend: &dyn Backend, prompt: &str) -> String {
        let text = [backend.identity().as_str(), prompt].join("\0");
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }

    /// The answer with a key.
    pub fn get(&self, key: &str) -> Option<Answer> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.0.get(key).cloned()
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, key: String, answer: Answer) -> Result<()> {
        let line = Line { key, answer };
        let text = serde_json::to_string(&line).map_err(std::io::Error::from);
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let written = text.and_then(|text| kept.1.write_all(format!("{text}\n").as_bytes()));
        written.map_err(|error| ImageError::write(&self.path, error))?;
        kept.0.insert(line.key, line.answer);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
