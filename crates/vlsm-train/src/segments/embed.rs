//! From samples to embeddings of their segments.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;
use vlsm_data::Sample;
use vlsm_image::{Mask, RgbImage};
use vlsm_models::Preprocessing;
use vlsm_models::segments::{SegmentModel, crops};

use crate::error::{Result, TrainError};

/// How the segments of a data set become a model's input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crops<'a> {
    pub(super) preprocessing: &'a Preprocessing,
    /// The data set's id that is left out.
    pub(super) ignore: Option<u8>,
    /// Segments of one pass.
    pub(super) batch: usize,
}

impl Crops<'_> {
    /// The crops of samples, `[samples, 3, side, side]`. An image that several samples in succession are of is read once.
    pub(super) fn batch(&self, model: &SegmentModel, samples: &[&Sample]) -> Result<Tensor<4>> {
        let of_one_image: Vec<&[&Sample]> = samples
            .chunk_by(|a, b| a.source.id() == b.source.id())
            .collect();
        let read = of_one_image.par_iter().map(|samples| {
            let (image, masks) = samples[0].source.image_and_masks()?;
            let image = Arc::new(image);
            let masks = samples
                .iter()
                .map(|sample| Ok((image.clone(), sample.mask(&masks, self.ignore)?)));
            masks.collect::<Result<Vec<(Arc<RgbImage>, Mask)>>>()
        });
        let read = read.collect::<Result<Vec<_>>>()?;
        let read: Vec<_> = read.into_iter().flatten().collect();
        let segments: Vec<_> = read.iter().map(|(image, mask)| (&**image, mask)).collect();
        Ok(crops(&segments, self.preprocessing, &model.device())?)
    }

    /// The embeddings of samples, of length 1, `[samples, projection]`.
    ///
    /// # Errors
    /// If a file cannot be read, or `progress`, which gets the number of samples that are done, stops the work.
    pub(super) fn embed(
        &self,
        model: &SegmentModel,
        samples: &[&Sample],
        mut progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Tensor<2>> {
        let mut parts = Vec::new();
        let mut done = 0;
        for part in samples.chunks(self.batch) {
            parts.push(model.embed_crops(self.batch(model, part)?));
            done += part.len();
            if progress(done).is_break() {
                return Err(TrainError::Stopped);
            }
        }
        Ok(Tensor::cat(parts, 0))
    }
}
