//! Every parser of files as a function of bytes, for fuzzing.
//!
//! A function returns whether the bytes were accepted. It must not panic, take long, or allocate much more memory than the input
//! explains. `tests/mutations` runs all of them on mutated inputs; `fuzz/` runs them with libFuzzer. Only temporary folders that
//! cannot be written panic here.

// A panic reports a fault to the fuzzer.
#![allow(clippy::expect_used, clippy::panic)]

mod data;
mod images;
#[cfg(feature = "models")]
mod models;
#[cfg(feature = "models")]
mod runs;
mod scans;
#[cfg(feature = "models")]
mod training;

use std::path::Path;

pub use data::{annotations, classes, prompts, split_list, subjects};
pub use images::{image, png};
#[cfg(feature = "models")]
pub use models::{
    adapter, base_biomedclip, base_clipseg, base_cris, base_san, checkpoint_pickle, config,
    large_pickle, merges, preprocessor, safetensors, script_pickle, tokenizer, torch, weights,
};
#[cfg(feature = "models")]
pub use runs::{features, metrics, summary, valid_features};
pub use scans::{metaimage, nifti, run_lengths};
#[cfg(feature = "models")]
pub use training::{checkpoint, recipe, scores, study};

/// Runs `read` with a new folder that has the given files.
fn with_files<T>(files: &[(&str, &[u8])], read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a temporary folder");
        }
        std::fs::write(&path, bytes).expect("a temporary file");
    }
    read(folder.path())
}
