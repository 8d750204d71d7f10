//! Names segments and compares the names with the true ones.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, activation};
use vlsm_data::{Dataset, Sample};
use vlsm_models::segments::SegmentModel;
use vlsm_models::weights::to_host;
use vlsm_models::{Preprocessing, Tokenizer};

use super::classes::SegmentClasses;
use super::embed::Crops;
use super::scores::SegmentScores;
use crate::error::Result;

/// What an evaluation of segments needs apart from model and samples.
#[derive(Debug, Clone, Copy)]
pub struct SegmentEvaluation<'a> {
    /// The base's vocabulary.
    pub tokenizer: &'a Tokenizer,
    /// The base's input.
    pub preprocessing: &'a Preprocessing,
    /// The data set that samples are of.
    pub dataset: &'a Dataset,
    /// Its classes, all of which are queries.
    pub classes: &'a SegmentClasses,
    /// The sentences in which names are put, for `{}`.
    pub templates: &'a [&'a str],
    /// Segments of one pass.
    pub batch: usize,
}

/// The name of a segment: the most similar class, by its index, and its probability among all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Named {
    /// The class.
    pub class: usize,
    /// Its probability.
    pub probability: f32,
}

/// Names the segments of samples. Returns the names in the order of the samples, and the scores. `progress` gets the number of
/// segments that are done.
///
/// # Errors
/// If a file cannot be read, a sample is of no class, or `progress` stops the evaluation.
pub fn evaluate_segments(
    model: &SegmentModel,
    samples: &[Sample],
    config: &SegmentEvaluation<'_>,
    progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<(Vec<Named>, SegmentScores)> {
    let truth = config.truth(samples)?;
    let segments = config.embed(model, samples, progress)?;
    config.name(model, segments, &truth)
}

impl SegmentEvaluation<'_> {
    /// The class of each sample.
    pub(super) fn truth(&self, samples: &[Sample]) -> Result<Vec<usize>> {
        let classes = samples.iter();
        classes
            .map(|sample| self.classes.of(self.dataset, sample))
            .collect()
    }

    /// The embeddings of samples, `[samples, projection]`.
    pub(super) fn embed(
        &self,
        model: &SegmentModel,
        samples: &[Sample],
        progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Tensor<2>> {
        let crops = Crops {
            preprocessing: self.preprocessing,
            ignore: self.dataset.ignore,
            batch: self.batch,
        };
        let samples: Vec<&Sample> = samples.iter().collect();
        crops.embed(model, &samples, progress)
    }

    /// Names embeddings, and compares the names with the true classes.
    pub(super) fn name(
        &self,
        model: &SegmentModel,
        segments: Tensor<2>,
        truth: &[usize],
    ) -> Result<(Vec<Named>, SegmentScores)> {
        let queries = model.embed_names(self.tokenizer, self.classes.names(), self.templates)?;
        let named: Vec<Named> = nearest(model, segments, queries)
            .into_iter()
            .map(|ranked| ranked[0])
            .collect();
        let predicted: Vec<usize> = named.iter().map(|named| named.class).collect();
        let scores = SegmentScores::new(self.classes, truth, &predicted);
        Ok((named, scores))
    }
}

/// For each of the embeddings of segments `[segments, projection]` all queries `[queries, projection]`, the most probable first.
pub fn nearest(model: &SegmentModel, segments: Tensor<2>, queries: Tensor<2>) -> Vec<Vec<Named>> {
    let ranked = probabilities(model, segments, queries).into_iter();
    let ranked = ranked.map(|row| {
        let named = row.into_iter().enumerate();
        let named = named.map(|(class, probability)| Named { class, probability });
        let mut named: Vec<Named> = named.collect();
        // Equal ones stay in the order of the queries.
        named.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        named
    });
    ranked.collect()
}

/// For each of the embeddings of segments `[segments, projection]` the probability of each of the queries `[queries, projection]`.
pub(super) fn probabilities(
    model: &SegmentModel,
    segments: Tensor<2>,
    queries: Tensor<2>,
) -> Vec<Vec<f32>> {
    let [count, _] = queries.dims();
    let logits = segments.matmul(queries.transpose()) * model.scale().unsqueeze::<2>();
    let probabilities = to_host(activation::softmax(logits, 1));
    probabilities.chunks(count).map(<[f32]>::to_vec).collect()
}
