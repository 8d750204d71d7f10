//! Batches of samples, bounded by their number of images.

use std::iter::Peekable;
use std::sync::Arc;

use vlsm_data::{Example, Loader, LoaderConfig, Request, Sample};

use super::EvalConfig;
use crate::error::Result;

/// Samples of a few images.
#[derive(Default)]
pub(super) struct ImageBatch {
    /// The samples.
    pub(super) examples: Vec<Example>,
    /// For each example, the index of its image.
    pub(super) images: Vec<usize>,
    /// For each image, the index of its first example.
    first: Vec<usize>,
}

impl ImageBatch {
    /// One example per image.
    pub(super) fn distinct(&self) -> Vec<&Example> {
        self.first
            .iter()
            .map(|index| &self.examples[*index])
            .collect()
    }
}

/// Iterates over samples in their order, in batches of at most `images` images. Samples of one image must follow each other.
pub(super) struct ImageBatches<'a> {
    loader: Peekable<Loader>,
    samples: &'a [Sample],
    images: usize,
}

impl<'a> ImageBatches<'a> {
    /// The samples with masks at `mask_size` and at their own size.
    pub(super) fn new(samples: &'a [Sample], mask_size: usize, config: &EvalConfig<'_>) -> Self {
        Self {
            loader: examples(samples, mask_size, config).peekable(),
            samples,
            images: config.batch_size,
        }
    }
}

impl Iterator for ImageBatches<'_> {
    type Item = Result<ImageBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = ImageBatch::default();
        while let Some(next) = self.loader.peek() {
            let starts_image = match (next, batch.examples.last()) {
                (Ok(next), Some(last)) => {
                    self.samples[next.sample].source.id() != self.samples[last.sample].source.id()
                }
                _ => true,
            };
            if starts_image && batch.first.len() == self.images {
                break;
            }
            match self.loader.next()? {
                Ok(example) => {
                    if starts_image {
                        batch.first.push(batch.examples.len());
                    }
                    batch.images.push(batch.first.len() - 1);
                    batch.examples.push(example);
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
        (!batch.examples.is_empty()).then_some(Ok(batch))
    }
}

/// The samples in their order, decoded ahead, with masks at `mask_size` and at their own size.
pub(super) fn examples(samples: &[Sample], mask_size: usize, config: &EvalConfig<'_>) -> Loader {
    let requests = (0..samples.len()).map(|sample| Request::new(sample, ""));
    Loader::new(
        Arc::from(samples),
        config.ignore,
        requests.collect(),
        LoaderConfig {
            image_size: config.preprocessing.image_size,
            mask_size,
            fit: config.preprocessing.fit,
            workers: config.workers,
            ahead: 2 * config.batch_size,
            images: config.features.is_none(),
            keep_original: true,
            ..LoaderConfig::default()
        },
    )
}
