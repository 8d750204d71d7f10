//! Every parser on deterministic mutations of valid files: no panic, no endless loop, bounded memory.
//!
//! `VLSM_FUZZ_INPUTS=20000 cargo test --workspace --test mutations -- --nocapture` is a long run.
//! `VLSM_FUZZ_REPLAY=FILE cargo test --workspace --test mutations PARSER` runs one input, such as the file that a failure names.
//! `VLSM_FUZZ_CORPUS=FOLDER` writes the valid files, as a start for libFuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod image_seeds;
mod memory;
#[cfg(feature = "models")]
mod model_seeds;
mod mutate;
mod runner;
mod seeds;

use runner::{Target, run};

const MB: usize = 1 << 20;

/// A test for each parser: its share of the inputs in thousandths, memory per input in MB.
macro_rules! parsers {
    ($($name:ident: $inputs:literal share, $memory:literal MB;)*) => {
        $(
            #[test]
            fn $name() {
                run(Target {
                    name: stringify!($name),
                    parse: vlsm_fuzz::$name,
                    seeds: seeds::$name(),
                    inputs: $inputs,
                    memory: $memory * MB,
                });
            }
        )*
    };
}

// Images may have 512 MiB of pixels, which are held twice during conversion. A vocabulary or base has tables of fixed size.
parsers! {
    image: 1000 share, 2048 MB;
    png: 1000 share, 2048 MB;
    nifti: 1000 share, 128 MB;
    metaimage: 1000 share, 64 MB;
    run_lengths: 1000 share, 512 MB;
    annotations: 1000 share, 64 MB;
    prompts: 1000 share, 64 MB;
    classes: 1000 share, 64 MB;
    subjects: 1000 share, 64 MB;
    split_list: 1000 share, 64 MB;
}

#[cfg(feature = "models")]
parsers! {
    safetensors: 1000 share, 64 MB;
    torch: 1000 share, 128 MB;
    checkpoint_pickle: 1000 share, 128 MB;
    script_pickle: 1000 share, 128 MB;
    large_pickle: 50 share, 128 MB;
    config: 1000 share, 64 MB;
    preprocessor: 1000 share, 64 MB;
    tokenizer: 1000 share, 128 MB;
    merges: 1000 share, 128 MB;
    adapter: 100 share, 256 MB;
    base_clipseg: 50 share, 512 MB;
    base_biomedclip: 50 share, 512 MB;
    base_cris: 50 share, 512 MB;
    base_san: 50 share, 512 MB;
    weights: 50 share, 512 MB;
    recipe: 1000 share, 64 MB;
    study: 500 share, 128 MB;
    checkpoint: 1000 share, 64 MB;
    scores: 1000 share, 64 MB;
    metrics: 1000 share, 64 MB;
    summary: 200 share, 64 MB;
    features: 1000 share, 64 MB;
}
