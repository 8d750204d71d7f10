//! Compared with `scripts/reference/make_segment_labels.py`, and calculations by hand.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use vlsm_image::read_json;
use vlsm_models::VocabularyMasks;

use super::*;

type Map<T> = Vec<Vec<T>>;

#[derive(Deserialize)]
struct Expected {
    masks: SoftMasks,
    parts: Parts,
}

#[derive(Deserialize)]
struct SoftMasks {
    masks: Vec<Map<f32>>,
    segmenter: Vec<Vec<f32>>,
    clip: Vec<Option<Vec<f32>>>,
    scores: Vec<Vec<f32>>,
    alone: Map<u8>,
    labels: Map<u8>,
}

#[derive(Deserialize)]
struct Parts {
    probability: Vec<Map<f32>>,
    min_area: usize,
    areas: Vec<usize>,
    segmenter: Vec<Vec<f32>>,
    clip: Vec<Vec<f32>>,
    scores: Vec<Vec<f32>>,
    alone: Map<u8>,
    labels: Map<u8>,
}

fn expected() -> Expected {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    read_json(&root.join("fixtures/clip/labels.json")).unwrap()
}

fn map(rows: &Map<u8>) -> ClassMap {
    ClassMap::new(rows[0].len(), rows.len(), rows.concat()).unwrap()
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{found:?} {expected:?}");
    }
}

#[test]
fn soft_masks_are_added_up_by_the_fused_scores() {
    let expected = expected().masks;
    let (queries, height, width) = (
        expected.masks.len(),
        expected.masks[0].len(),
        expected.masks[0][0].len(),
    );
    let count = expected.segmenter[0].len();
    let tensor = |data: Vec<f32>, shape: [usize; 3]| {
        Tensor::<3>::from_data(TensorData::new(data, shape), &Device::flex())
    };
    let masks = VocabularyMasks {
        classes: tensor(expected.segmenter.concat(), [1, queries, count]),
        masks: tensor(
            expected.masks.concat().concat(),
            [1, queries, height * width],
        ),
        grid: [height, width],
    };
    let maps = ClassMaps::of_vocabulary(masks, (width, height), vlsm_image::Fit::Stretch);
    let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let classes = ClassList::new(names, None).unwrap();
    let (alone, found) = proposals(&maps, &classes, 1000).unwrap();
    assert_eq!(alone, map(&expected.alone));
    let mut scores = Vec::new();
    for ((proposal, clip), wanted) in found.iter().zip(&expected.clip).zip(&expected.scores) {
        // The script leaves out the CLIP where no pixel is above 0.4.
        assert_eq!(proposal.mask.foreground() > 0, clip.is_some());
        let fused = fuse(&proposal.classes, clip.as_deref(), 0.7);
        close(&fused, wanted);
        scores.push(fused);
    }
    assert_eq!(scores.len(), queries);
    let labels = maps.labels_by(&scores, &classes).unwrap().unwrap();
    assert_eq!(labels, map(&expected.labels));
    assert_ne!(labels, alone);
}

#[test]
fn connected_parts_get_their_best_class_and_small_ones_keep_theirs() {
    let expected = expected().parts;
    let alone = map(&expected.alone);
    // Ids need not be the numbers of the classes.
    let ids = [10, 20, 30];
    let alone = alone.map_ids(|class| ids[usize::from(class)]);
    let probability = |class: usize| expected.probability[class].concat();
    let found = connected_parts(&alone, &ids, probability, expected.min_area);
    let areas: Vec<usize> = found.iter().map(|one| one.mask.foreground()).collect();
    assert_eq!(areas, expected.areas);
    let mut scores = Vec::new();
    for (index, proposal) in found.iter().enumerate() {
        close(&proposal.classes, &expected.segmenter[index]);
        let fused = fuse(&proposal.classes, Some(&expected.clip[index]), 0.7);
        close(&fused, &expected.scores[index]);
        scores.push(fused);
    }
    let labels = relabel(alone, &found, &scores, &ids);
    let wanted = map(&expected.labels).map_ids(|class| ids[usize::from(class)]);
    assert_eq!(labels, wanted);
}

/// Classes 0 and 1; the pixel to the right is of neither. The part of class 0 has probabilities (0.9 + 0.7) / 2 = 0.8 and
/// (0.3 + 0.1) / 2 = 0.2, that of class 1 has 0.5 and 0.75, which are 0.4 and 0.6 of their sum.
#[test]
fn probabilities_of_a_part_are_means_over_its_pixels() {
    let labels = ClassMap::new(4, 1, vec![0, 0, 1, 255]).unwrap();
    let maps = [vec![0.9, 0.7, 0.5, 0.4], vec![0.3, 0.1, 0.75, 0.4]];
    let found = connected_parts(&labels, &[0, 1], |class| maps[class].clone(), 0);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].mask.data, [1, 1, 0, 0]);
    close(&found[0].classes, &[0.8, 0.2]);
    close(&found[1].classes, &[0.4, 0.6]);
    // 0.8^0.5 * 0.1^0.5 = 0.2828 is below 0.2^0.5 * 0.9^0.5 = 0.4243: the CLIP decides.
    let scores = [
        fuse(&found[0].classes, Some(&[0.1, 0.9]), 0.5),
        fuse(&found[1].classes, Some(&[0.5, 0.5]), 0.5),
    ];
    close(&scores[0], &[0.08_f32.sqrt(), 0.18_f32.sqrt()]);
    assert_eq!(
        relabel(labels.clone(), &found, &scores, &[0, 1]).data,
        [1, 1, 1, 255]
    );
    // The pixel of class 1 is too small a part.
    let large = connected_parts(&labels, &[0, 1], |class| maps[class].clone(), 2);
    assert_eq!(large.len(), 1);
    assert!(connected_parts(&labels, &[0, 1], |class| maps[class].clone(), 3).is_empty());
    // Equal where all probabilities are too small for a number.
    let none = connected_parts(&labels, &[0, 1], |_| vec![0.0; 4], 0);
    close(&none[0].classes, &[0.5, 0.5]);
}

#[test]
fn the_weights_ends_leave_one_of_both_out() {
    let (own, clip) = ([0.25, 0.75, 0.0], [0.6, 0.0, 0.4]);
    close(&fuse(&own, Some(&clip), 0.0), &own);
    close(&fuse(&own, Some(&clip), 1.0), &clip);
    close(&fuse(&own, None, 0.5), &[0.5, 0.75_f32.sqrt(), 0.0]);
    assert_eq!((best(&[0.1, 0.3, 0.3]), best(&[])), (1, 0));
}
