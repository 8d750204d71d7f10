//! From the logits of classes to labels of whole images.

use burn::tensor::Tensor;
use rayon::prelude::*;
use vlsm_image::{ArgMax, ClassList, ClassMap};

use super::PromptEncoder;
use crate::contract::{SegmentationModel, select};
use crate::error::Result;
use crate::weights::to_host;

/// Labels of a batch of images, each at its width and height, from the features of the images. The decoder answers one
/// class for all images, then the next, so that no more than one class's logits are kept.
///
/// # Errors
/// If a class name cannot be encoded.
pub fn label_images<M: SegmentationModel>(
    model: &M,
    features: &[Tensor<3>],
    sizes: &[(usize, usize)],
    classes: &ClassList,
    encoder: &mut PromptEncoder<'_>,
) -> Result<Vec<ClassMap>> {
    let new = |(width, height): &(usize, usize)| {
        ArgMax::new(*width, *height, classes.none(), classes.background())
    };
    let mut labels: Vec<ArgMax> = sizes.iter().map(new).collect();
    let (ids, names): (Vec<u8>, Vec<&str>) = classes.targets().unzip();
    let texts = encoder.encode(model, &names)?;
    for (index, id) in ids.into_iter().enumerate() {
        let text = select(&texts, &vec![index; sizes.len()]);
        let logits = model.decode(features, text)?;
        let [_, height, width] = logits.dims();
        let logits = to_host(logits);
        labels
            .par_iter_mut()
            .zip(logits.par_chunks((height * width).max(1)))
            .for_each(|(labels, logits)| labels.add(id, logits, width, height));
    }
    Ok(labels.into_iter().map(ArgMax::into_labels).collect())
}
