use super::*;

fn map(width: usize, data: Vec<u8>) -> ClassMap {
    ClassMap::new(width, data.len() / width.max(1), data).unwrap()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

/// Class 0 has three true pixels and two predicted ones, both correct. Class 1 has two true pixels and three predicted
/// ones, two of them correct. One pixel of the ground truth is ignored.
#[test]
fn metrics_equal_a_calculation_by_hand() {
    let mut confusion = Confusion::new(2);
    let truth = map(3, vec![0, 0, 0, 1, 1, 9]);
    let predicted = map(3, vec![0, 0, 1, 1, 1, 0]);
    confusion.add(&predicted, &truth, Some(9)).unwrap();
    let rows: Vec<&[u64]> = confusion.rows().collect();
    assert_eq!(rows, [[2, 1, 0], [0, 2, 0]]);
    assert_eq!(confusion.pixels(), 5);
    close(confusion.class(0).iou().unwrap(), 2.0 / 3.0);
    close(confusion.class(1).iou().unwrap(), 2.0 / 3.0);
    close(confusion.mean_iou(), 2.0 / 3.0);
    close(confusion.mean_iou_of(&[1]).unwrap(), 2.0 / 3.0);
    assert_eq!(confusion.mean_iou_of(&[]), None);
    close(confusion.mean_accuracy(), (2.0 / 3.0 + 1.0) / 2.0);
    close(confusion.pixel_accuracy(), 0.8);
}

/// In the first image class 1 has one pixel, which is missed; in the second it has nine, which are all found. The IoU over
/// the data set is 9/10; the mean of the images' IoUs would be 1/2.
#[test]
fn iou_is_computed_from_the_sums_over_images() {
    let (mut all, mut first) = (Confusion::new(2), Confusion::new(2));
    first.add(&map(1, vec![0]), &map(1, vec![1]), None).unwrap();
    all.add(&map(3, vec![1; 9]), &map(3, vec![1; 9]), None)
        .unwrap();
    all.merge(&first).unwrap();
    close(all.class(1).iou().unwrap(), 0.9);
    // Class 0 is only predicted. It enters mIoU as 0 and has no accuracy.
    assert_eq!(all.class(0).accuracy(), None);
    close(all.mean_iou(), 0.45);
    close(all.mean_iou_of(&[1]).unwrap(), 0.9);
    close(all.mean_iou_of(&[0, 1, 7]).unwrap(), 0.45);
    close(all.mean_accuracy(), 0.9);
}

/// The expected values were computed by `scripts/reference/make_confusion.py` with scikit-learn 1.9.1 and torchmetrics
/// 1.9.0.
#[test]
fn metrics_equal_scikit_learn_and_torchmetrics() {
    let mut state = 2024u64;
    let mut below = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let (mut confusion, mut none_as_3) = (Confusion::new(5), Confusion::new(5));
    for (width, height) in [(13, 7), (8, 9), (20, 5)] {
        let (mut truth, mut predicted) = (Vec::new(), Vec::new());
        for _ in 0..width * height {
            let id = [0, 0, 0, 1, 1, 2, 5][below(7) as usize];
            let guess = if below(3) == 0 {
                below(4) as u8
            } else {
                id.min(2)
            };
            truth.push(id);
            predicted.push(if below(17) == 0 { 255 } else { guess });
        }
        let (truth, mut predicted) = (map(width, truth), map(width, predicted));
        confusion.add(&predicted, &truth, Some(5)).unwrap();
        for id in predicted.data.iter_mut().filter(|id| **id == 255) {
            *id = 3;
        }
        none_as_3.add(&predicted, &truth, Some(5)).unwrap();
    }
    let rows: Vec<&[u64]> = confusion.rows().collect();
    let expected = [
        [91, 10, 14, 7, 0, 7],
        [4, 55, 6, 1, 0, 5],
        [1, 2, 26, 0, 0, 2],
        [0; 6],
        [0; 6],
    ];
    assert_eq!(rows, expected);
    let iou: Vec<Option<f64>> = (0..5).map(|id| confusion.class(id).iou()).collect();
    close(iou[0].unwrap(), 0.679_104_477_611_940_3);
    close(iou[1].unwrap(), 0.662_650_602_409_638_6);
    close(iou[2].unwrap(), 0.509_803_921_568_627_4);
    assert_eq!(iou[3..], [Some(0.0), None]);
    close(confusion.mean_iou(), 0.462_889_750_397_551_54);
    close(confusion.mean_accuracy(), 0.772_927_973_777_481_9);
    close(confusion.pixel_accuracy(), 0.744_588_744_588_744_6);
    // torchmetrics computes in f32.
    assert!((none_as_3.mean_iou() - 0.462_889_790_534_973_14).abs() < 1e-7);
}

#[test]
fn a_mismatch_is_an_error_and_counts_nothing() {
    let mut confusion = Confusion::new(2);
    let truth = map(2, vec![0, 1]);
    for (predicted, truth) in [
        (map(1, vec![0, 1]), &truth),
        (map(2, vec![0, 0, 0, 0]), &truth),
        (truth.clone(), &map(2, vec![0, 2])),
    ] {
        assert!(confusion.add(&predicted, truth, None).is_err());
    }
    assert!(confusion.merge(&Confusion::new(3)).is_err());
    assert_eq!(confusion.pixels(), 0);
    assert_eq!(confusion.class(7), ClassPixels::default());
    close(
        confusion.mean_iou() + confusion.mean_accuracy() + confusion.pixel_accuracy(),
        0.0,
    );
}
