//! OpenDAS's losses over cosines of segments and queries.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::negatives::Queries;

/// The mean cross entropy of segments, `[1]`: of their `cosines` `[segments, queries]` times `scale` `[1]`, with the true query of
/// each.
pub(super) fn cross_entropy(cosines: Tensor<2>, scale: Tensor<1>, truth: &[usize]) -> Tensor<1> {
    let logits = cosines * scale.unsqueeze::<2>();
    let truth = column(truth, &logits.device());
    let right = activation::log_softmax(logits, 1).gather(1, truth);
    right.mean().neg()
}

/// The mean triplet loss of segments, `[1]`: by how much the distance to the true query, plus `margin`, exceeds that to the nearest
/// of the wrong ones. The distance is 1 less the cosine.
pub(super) fn triplet(
    cosines: Tensor<2>,
    truth: &[usize],
    queries: &Queries,
    margin: f64,
) -> Tensor<1> {
    // Below any cosine, so that what is no negative is never the nearest.
    const OUT: f32 = -4.0;
    let [segments, count] = cosines.dims();
    let device = cosines.device();
    let pairs = truth.iter().flat_map(|&class| {
        (0..count).map(move |query| match queries.is_negative_of(query, class) {
            true => 0.0,
            false => OUT,
        })
    });
    let out = TensorData::new(pairs.collect::<Vec<f32>>(), [segments, count]);
    let out = Tensor::<2>::from_data(out, &device);
    let right = cosines.clone().gather(1, column(truth, &device));
    let hardest = (cosines + out).max_dim(1);
    activation::relu(hardest - right + margin).mean()
}

/// Indices as `[count, 1]`.
fn column(indices: &[usize], device: &Device) -> Tensor<2, Int> {
    let data: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
    let data = TensorData::new(data, [indices.len(), 1]);
    Tensor::from_data(data, device)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use vlsm_models::segments::{ClipBase, SegmentModel};
    use vlsm_models::tensor_file::{self, HostTensor};
    use vlsm_models::weights::{self, to_host};
    use vlsm_models::{CoopConfig, TokenBatch, VptConfig};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/clip")
    }

    /// Queries of the fixture: 0 to 4 are classes, 5 is a negative of class 1, 6 of class 3.
    fn queries() -> Queries {
        let base = (0..5).map(|class| format!("class {class}")).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let lists = r#"{"class 1": ["one"], "class 3": ["three"]}"#;
        std::fs::write(file.path(), lists).unwrap();
        let mut queries = Queries::new(base);
        queries.add_file(file.path(), &[]).unwrap();
        queries
    }

    /// Both losses and their gradients at learnt tokens against PyTorch in f64 (`scripts/reference/make_clip.py`).
    #[test]
    fn losses_and_gradients_are_those_of_pytorch() {
        let device = Device::flex();
        let base = ClipBase::load(folder().to_str().unwrap(), &device).unwrap();
        let read = |name| tensor_file::read(&folder().join(name)).unwrap();
        let (batch, expected) = (read("batch.safetensors"), read("expected.safetensors"));
        let HostTensor { shape, data } = batch.tensors["pixel_values"].clone();
        let pixels = Tensor::<4>::from_data(TensorData::new(data, shape), &device);
        let ids = batch.ints["input_ids"].data.chunks(8);
        let ids: Vec<Vec<u32>> = ids
            .map(|row| row.iter().map(|id| *id as u32).collect())
            .collect();
        let tokens = TokenBatch::new(&ids, &base.config().text_config).unwrap();
        let vision = VptConfig {
            tokens: 2,
            depth: Some(2),
            ..VptConfig::default()
        };
        let text = CoopConfig {
            tokens: 2,
            depth: 2,
            words: String::new(),
            ..CoopConfig::default()
        };
        let model = SegmentModel::new(&base, &[vision.into(), text.into()], 0).unwrap();
        let name = |stage| format!("stages.{stage}.context_learner.context_vectors");
        let given = [(0, "vision_tokens"), (1, "text_tokens")];
        let given = given.map(|(stage, tensor)| (name(stage), expected.tensors[tensor].clone()));
        let model = model.load(given.into(), Path::new("tokens")).unwrap();

        // The first stage has no tokens in the text tower yet.
        let plain = SegmentModel::new(&base, &[], 0).unwrap();
        let truth = [1, 3, 0];
        let check = |loss: Tensor<1>, model: &SegmentModel, stage: usize, which: &str| {
            let value = to_host(loss.clone().inner())[0];
            let wanted = expected.tensors[&format!("{which}_loss")].data[0];
            assert!((value - wanted).abs() < 1e-4, "{which}: {value} {wanted}");
            let found = weights::take_gradients(model, &mut loss.backward());
            assert_eq!(found.keys().collect::<Vec<_>>(), [&name(stage)]);
            let found = to_host(found[&name(stage)].flat.clone());
            let wanted = &expected.tensors[&format!("{which}_gradient")].data;
            let squares = |values: &mut dyn Iterator<Item = f32>| -> f32 {
                values.map(|x| x * x).sum::<f32>().sqrt()
            };
            let off = squares(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
            let norm = squares(&mut wanted.iter().copied());
            assert!(off < 1e-3 * norm, "{which}: {off} of {norm}");
        };
        let first = model.clone().for_training(0);
        let texts = plain.embed_tokens(&tokens);
        let cosines = first.embed_crops(pixels.clone()).matmul(texts.transpose());
        check(
            cross_entropy(cosines, first.scale(), &truth),
            &first,
            0,
            "first",
        );

        let second = model.for_training(1);
        let segments = second.embed_crops(pixels);
        let cosines = segments.matmul(second.embed_tokens(&tokens).transpose());
        let loss = cross_entropy(cosines.clone(), second.scale(), &truth)
            + triplet(cosines, &truth, &queries(), 0.2) * 0.7;
        check(loss, &second, 1, "second");
    }

    #[test]
    fn a_class_without_negatives_has_no_triplet_loss() {
        let queries = Queries::new(vec!["sky".into()]);
        let cosines = Tensor::<2>::from_data([[0.1], [0.9]], &Device::flex());
        let loss = triplet(cosines, &[0, 0], &queries, 0.5);
        assert_eq!(to_host(loss), [0.0]);
    }
}
