//! Proposals: what a segmenter finds in an image, to be named by a CLIP.

use rayon::prelude::*;
use vlsm_data::parts;
use vlsm_image::{ClassList, ClassMap, Mask};
use vlsm_models::predict::ClassMaps;

use crate::error::Result;

/// The probability above which a pixel of a soft mask is shown to the CLIP, as in OVSeg.
const SHOWN: f32 = 0.4;

/// A part of an image that a segmenter found.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What the CLIP is shown; it can be empty for a soft mask.
    pub mask: Mask,
    /// The segmenter's probability of each class, in the order of their ids.
    pub classes: Vec<f32>,
}

/// The segmenter's own labels, and its proposals.
///
/// The proposals of a SAN are its masks. Any other model's are the connected parts of its labels that have at least `min_area`
/// pixels; the probability of a class in a part is the mean over its pixels, divided by the sum over classes.
///
/// # Errors
/// If a number of the model is infinite or not one.
pub(super) fn proposals(
    maps: &ClassMaps,
    classes: &ClassList,
    min_area: usize,
) -> Result<(ClassMap, Vec<Proposal>)> {
    let labels = maps.labels(classes)?;
    let found = match maps.masks(SHOWN) {
        Some(masks) => {
            let masks = masks.into_iter();
            let masks = masks.map(|(mask, classes)| Proposal { mask, classes });
            masks.collect()
        }
        None => {
            let ids: Vec<u8> = classes.targets().map(|(id, _)| id).collect();
            let probability = |class| maps.probability(class).unwrap_or_default();
            connected_parts(&labels, &ids, probability, min_area)
        }
    };
    Ok((labels, found))
}

/// The connected parts of labels, by class and from the top. `probability` gives the map of a class, by its index in `ids`.
fn connected_parts(
    labels: &ClassMap,
    ids: &[u8],
    probability: impl Fn(usize) -> Vec<f32> + Sync,
    min_area: usize,
) -> Vec<Proposal> {
    let masks = ids.par_iter();
    let masks = masks.flat_map(|id| parts(&labels.mask_of(*id, None), min_area));
    let masks: Vec<Mask> = masks.map(|(mask, _)| mask).collect();
    if masks.is_empty() {
        return Vec::new();
    }
    // Parts do not overlap: each pixel is of one or none.
    let mut part_of = vec![usize::MAX; labels.data.len()];
    for (index, mask) in masks.iter().enumerate() {
        for (part, inside) in part_of.iter_mut().zip(&mask.data) {
            if *inside == 1 {
                *part = index;
            }
        }
    }
    let sums: Vec<Vec<f64>> = (0..ids.len())
        .into_par_iter()
        .map(|class| {
            let mut sums = vec![0.0; masks.len()];
            for (part, probability) in part_of.iter().zip(probability(class)) {
                if let Some(sum) = sums.get_mut(*part) {
                    *sum += f64::from(probability);
                }
            }
            sums
        })
        .collect();
    let parts = masks.into_iter().enumerate();
    let parts = parts.map(|(part, mask)| {
        let total: f64 = sums.iter().map(|of_class| of_class[part]).sum();
        let share = |of_class: &Vec<f64>| match total > 0.0 {
            true => (of_class[part] / total) as f32,
            // All are too small for a number of 32 bits.
            false => 1.0 / ids.len() as f32,
        };
        let classes = sums.iter().map(share).collect();
        Proposal { mask, classes }
    });
    parts.collect()
}

/// The scores of a proposal's classes: the segmenter's probability to the power of `1 - weight` times the CLIP's to that of
/// `weight`, as in OVSeg. A proposal that the CLIP did not see has the first factor only, as there.
pub fn fuse(segmenter: &[f32], clip: Option<&[f32]>, weight: f32) -> Vec<f32> {
    let own = segmenter.iter().map(|p| p.powf(1.0 - weight));
    match clip {
        Some(clip) => own.zip(clip).map(|(own, p)| own * p.powf(weight)).collect(),
        None => own.collect(),
    }
}

/// The index of the largest score; of equals the first.
pub fn best(scores: &[f32]) -> usize {
    let scores = scores.iter().enumerate();
    let best = scores.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(index, _)| index)
}

/// Labels in which each proposal, a part of the segmenter's labels, has its best class. Other pixels stay as they are.
pub(super) fn relabel(
    mut labels: ClassMap,
    proposals: &[Proposal],
    scores: &[Vec<f32>],
    ids: &[u8],
) -> ClassMap {
    for (proposal, scores) in proposals.iter().zip(scores) {
        let id = ids[best(scores)];
        for (label, inside) in labels.data.iter_mut().zip(&proposal.mask.data) {
            if *inside == 1 {
                *label = id;
            }
        }
    }
    labels
}

#[cfg(test)]
#[path = "proposals_tests.rs"]
mod tests;
