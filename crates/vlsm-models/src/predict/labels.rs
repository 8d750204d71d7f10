//! From class logits to label maps.

use burn::tensor::Tensor;
use rayon::prelude::*;
use vlsm_image::{ArgMax, ClassList, ClassMap, Fit};

use super::logits;
use super::masks::finite;
use crate::contract::{SegmentationModel, select};
use crate::error::Result;

/// Whether images are labelled by the model's own mode for a vocabulary: SAN's, where each of its masks is given to one of the
/// classes. It has no probability of a single class, so a background threshold needs the other mode, in which each class is a
/// prompt.
pub fn uses_vocabulary<M: SegmentationModel>(model: &M, classes: &ClassList) -> bool {
    !model.templates().is_empty() && classes.background() == 0.0
}

/// The prompts whose encoded text [`label_images`] takes: the names of the classes, or each of them in the templates of the
/// model's vocabulary.
pub fn label_prompts<M: SegmentationModel>(model: &M, classes: &ClassList) -> Vec<String> {
    let names = classes.targets().map(|(_, name)| name);
    if !uses_vocabulary(model, classes) {
        return names.map(str::to_owned).collect();
    }
    let in_templates = |name: &str| {
        let sentences = model.templates().iter();
        let sentences = sentences.map(|sentence| sentence.replace("{}", name));
        sentences.collect::<Vec<_>>()
    };
    names.flat_map(in_templates).collect()
}

/// Labels of a batch of images that became squares by `fit`, each at its width and height: for each pixel the most likely class.
///
/// `features` has a row for each image, `text` one for each of [`label_prompts`], in their order. Only one class's logits of
/// all images, or one image's scores of all classes, are in memory at a time.
///
/// # Errors
/// If `features` or `text` are not the model's, or a logit is infinite or not a number.
pub fn label_images<M: SegmentationModel>(
    model: &M,
    features: &[Tensor<3>],
    sizes: &[(usize, usize)],
    fit: Fit,
    classes: &ClassList,
    text: &[Tensor<3>],
) -> Result<Vec<ClassMap>> {
    if uses_vocabulary(model, classes) {
        let labelled = sizes.iter().enumerate().map(|(image, size)| {
            let masks = model.vocabulary_masks(&select(features, &[image]), text.to_vec())?;
            let scores = finite(masks.scores().squeeze_dim(0))?;
            Ok(most_likely(&scores, masks.grid, *size, fit, classes))
        });
        return labelled.collect();
    }
    let images: Vec<usize> = (0..sizes.len()).collect();
    let new = |size: &(usize, usize)| unlabelled(*size, fit, classes);
    let mut labels: Vec<ArgMax> = sizes.iter().map(new).collect();
    for (index, (id, _)) in classes.targets().enumerate() {
        let text = select(text, &vec![index; sizes.len()]);
        let logits = logits(model, features, &images, text)?;
        let [_, height, width] = logits.dims();
        let logits = finite(logits)?;
        labels
            .par_iter_mut()
            .zip(logits.par_chunks((height * width).max(1)))
            .for_each(|(labels, logits)| labels.add(id, logits, width, height));
    }
    let labels = labels.into_iter().map(ArgMax::into_labels).zip(sizes);
    let labels = labels.map(|(labels, size)| fit.unpadded_labels(labels, *size));
    Ok(labels.collect())
}

/// The class with the largest score at each pixel of an image of a size that became a square by `fit`. `scores` are
/// `[classes, height, width]`, with height and width from `grid`.
pub(super) fn most_likely(
    scores: &[f32],
    grid: [usize; 2],
    size: (usize, usize),
    fit: Fit,
    classes: &ClassList,
) -> ClassMap {
    let mut labels = unlabelled(size, fit, classes);
    let scores = scores.chunks((grid[0] * grid[1]).max(1));
    for ((id, _), scores) in classes.targets().zip(scores) {
        labels.add(id, scores, grid[1], grid[0]);
    }
    fit.unpadded_labels(labels.into_labels(), size)
}

/// Labels of an image before the first class is compared.
fn unlabelled(size: (usize, usize), fit: Fit, classes: &ClassList) -> ArgMax {
    let (width, height) = fit.padded_size(size);
    ArgMax::new(width, height, classes.none(), classes.background())
}
