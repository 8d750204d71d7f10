//! From class logits to label maps.

use burn::tensor::Tensor;
use rayon::prelude::*;
use vlsm_image::{ArgMax, ClassList, ClassMap};

use super::logits;
use super::masks::finite;
use crate::contract::{SegmentationModel, select};
use crate::error::Result;

/// Labels of a batch of images, each at its width and height: for each pixel the most likely class.
///
/// `features` has a row for each image, `text` one for each of [`ClassList::targets`], in their order. The decoder runs on
/// all images for one class after another, so that only one class's logits are in memory.
///
/// # Errors
/// If `features` or `text` are not the model's, or a logit is infinite or not a number.
pub fn label_images<M: SegmentationModel>(
    model: &M,
    features: &[Tensor<3>],
    sizes: &[(usize, usize)],
    classes: &ClassList,
    text: &[Tensor<3>],
) -> Result<Vec<ClassMap>> {
    let new = |(width, height): &(usize, usize)| {
        ArgMax::new(*width, *height, classes.none(), classes.background())
    };
    let mut labels: Vec<ArgMax> = sizes.iter().map(new).collect();
    let images: Vec<usize> = (0..sizes.len()).collect();
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
    Ok(labels.into_iter().map(ArgMax::into_labels).collect())
}
