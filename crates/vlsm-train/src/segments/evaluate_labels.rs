//! Compares labels of whole images with the true ones: the segmenter's own, and those with a CLIP's names.

use std::ops::ControlFlow;

use serde::Serialize;
use vlsm_data::{Masks, Sample};
use vlsm_image::ClassMap;

use super::classes::SegmentClasses;
use super::labeller::ImageLabeller;
use crate::error::{Result, TrainError};
use crate::evaluate::{SemanticEvaluation, SemanticMetrics, count, no_labels};

/// The scores of an [`ImageLabeller`] on a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScores {
    /// The segmenter alone.
    pub segmenter: KindScores,
    /// With the CLIP's names.
    pub named: KindScores,
    /// The number of proposals that the CLIP named.
    pub proposals: usize,
    /// The number of images without a proposal, whose labels are the segmenter's.
    pub images_without_proposals: usize,
}

/// Metrics of labels over all, base and novel classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindScores {
    /// Over all classes, as `vlsm eval --semantic` has them.
    #[serde(flatten)]
    pub all: SemanticMetrics,
    /// mIoU of the base classes; `None` if they are neither in the ground truth nor predicted.
    pub base_miou: Option<f64>,
    /// mIoU of the novel classes.
    pub novel_miou: Option<f64>,
}

impl KindScores {
    fn new(evaluation: &SemanticEvaluation, classes: &SegmentClasses) -> Self {
        let of = |novel: bool| {
            let targets = evaluation.classes.targets().enumerate();
            let ids = targets.filter(|(index, _)| classes.is_novel(*index) == novel);
            let ids: Vec<u8> = ids.map(|(_, (id, _))| id).collect();
            evaluation.confusion.mean_iou_of(&ids)
        };
        Self {
            all: evaluation.metrics(),
            base_miou: of(false),
            novel_miou: of(true),
        }
    }
}

/// Labels the images of samples, which are those of [`Dataset::labelled`](vlsm_data::Dataset::labelled), and scores the labels.
/// `classes` are those of the data set. `progress` gets the number of images that are done.
///
/// # Errors
/// If a file cannot be read, a sample has no class ids, or `progress` stops the evaluation.
pub fn evaluate_labels(
    labeller: &ImageLabeller<'_>,
    samples: &[Sample],
    classes: &SegmentClasses,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<LabelScores> {
    let list = labeller.classes();
    let mut segmenter = SemanticEvaluation::new(list);
    let mut named = SemanticEvaluation::new(list);
    let (mut proposals, mut without) = (0, 0);
    for (done, sample) in samples.iter().enumerate() {
        let (image, masks) = sample.source.image_and_masks()?;
        let Masks::Classes(truth) = masks else {
            return Err(no_labels(sample));
        };
        let labels = labeller.label(&image)?;
        let add = |to: &mut SemanticEvaluation, labels: &ClassMap| {
            to.add(sample, &count(labels, &truth, list)?)
        };
        add(&mut segmenter, &labels.segmenter)?;
        add(&mut named, &labels.named)?;
        let seen = labels.proposals.iter().filter(|one| one.clip.is_some());
        let seen = seen.count();
        proposals += seen;
        without += usize::from(seen == 0);
        if progress(done + 1).is_break() {
            return Err(TrainError::Stopped);
        }
    }
    Ok(LabelScores {
        segmenter: KindScores::new(&segmenter, classes),
        named: KindScores::new(&named, classes),
        proposals,
        images_without_proposals: without,
    })
}
