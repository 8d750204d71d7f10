use std::path::Path;
use std::time::Duration;

use super::*;
use crate::prompt::Prompts;
use crate::sample::Target;
use crate::source::{FilePair, Masks, Source};
use vlsm_image::{Fit, write_png_gray, write_png_mask, write_png_rgb};

fn sample(root: &Path, image: usize, mask: &str, target: Target) -> Sample {
    Sample {
        name: format!("{image}"),
        subject: String::new(),
        source: Arc::new(FilePair::new(
            root.join(format!("{image}.png")),
            root.join(mask),
            !matches!(target, Target::Mask(_)),
        )),
        target,
        group: String::new(),
        prompts: Prompts::new(),
        oracle: None,
    }
}

/// `count` uniform images, the i-th of level `i`, with masks whose first pixel is foreground.
fn data(root: &Path, count: usize) -> Arc<[Sample]> {
    for i in 0..count {
        let image = RgbImage::filled(8, 6, [i as u8; 3]);
        write_png_rgb(&root.join(format!("{i}.png")), &image).unwrap();
        let mut mask = Mask::empty(8, 6);
        mask.data[0] = 1;
        write_png_mask(&root.join(format!("{i}_mask.png")), &mask).unwrap();
    }
    (0..count)
        .map(|i| sample(root, i, &format!("{i}_mask.png"), Target::Mask(0)))
        .collect()
}

fn requests(samples: impl IntoIterator<Item = usize>) -> Vec<Request> {
    samples
        .into_iter()
        .map(|sample| Request::new(sample, format!("prompt {sample}")))
        .collect()
}

fn config(workers: usize, ahead: usize) -> LoaderConfig {
    LoaderConfig {
        image_size: 4,
        mask_size: 8,
        fit: Fit::Stretch,
        workers,
        ahead,
        images: true,
        keep_original: true,
        memory: 1 << 20,
    }
}

#[test]
fn examples_come_in_order_and_no_file_is_decoded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let samples = data(folder.path(), 20);
    let order: Vec<usize> = (0..100).map(|i| (i * 7 + i / 20) % 20).collect();
    for (workers, ahead) in [(0, 0), (1, 0), (1, 4), (2, 1), (4, 16), (8, 1000)] {
        let mut loader = Loader::new(
            samples.clone(),
            None,
            requests(order.clone()),
            config(workers, ahead),
        );
        assert_eq!(loader.len(), 100);
        for &expected in &order {
            let example = loader.next().unwrap().unwrap();
            assert_eq!(
                (example.sample, example.prompt),
                (expected, format!("prompt {expected}"))
            );
            let image = example.image.unwrap();
            assert_eq!(image.data, vec![expected as u8; 4 * 4 * 3]);
            assert_eq!((example.mask.width, example.mask.height), (8, 8));
            let original = example.original.unwrap();
            assert_eq!(
                (original.width, original.height, original.foreground()),
                (8, 6, 1)
            );
        }
        assert!(loader.next().is_none());
        assert_eq!(loader.decodes(), 40, "{workers} workers, {ahead} ahead");
    }
}

#[test]
fn class_masks_of_one_file_are_decoded_once_and_ignored_pixels_marked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    data(root, 1);
    write_png_gray(
        &root.join("ids.png"),
        8,
        6,
        &[[3; 8], [5; 8], [11; 8], [3; 8], [5; 8], [5; 8]].concat(),
    )
    .unwrap();
    let samples: Arc<[Sample]> = [Target::Class(3), Target::Class(5), Target::Labels]
        .map(|target| sample(root, 0, "ids.png", target))
        .into();
    let mut loader = Loader::new(samples, Some(11), requests([0, 1, 2]), config(2, 8));
    let [three, five, all] = [0, 1, 2].map(|_| loader.next().unwrap().unwrap());
    assert_eq!((three.labels, five.labels), (None, None));
    assert_eq!(all.labels.unwrap().ids(), [3, 5, 11]);
    let [three, five, all] = [three.original, five.original, all.original].map(Option::unwrap);
    assert_eq!(all.foreground(), 40);
    assert_eq!((three.foreground(), five.foreground()), (16, 24));
    assert!(
        three.data[16..24]
            .iter()
            .chain(&five.data[16..24])
            .all(|&v| v == Mask::IGNORE)
    );
    assert_eq!(loader.decodes(), 2);
}

#[test]
fn errors_come_at_their_position_and_the_pass_continues() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut samples = data(root, 4).to_vec();
    std::fs::write(root.join("1.png"), b"not an image").unwrap();
    write_png_mask(&root.join("2_mask.png"), &Mask::from_fn(5, 6, |_, _| 1)).unwrap();
    samples[3] = sample(root, 3, "absent.png", Target::Mask(0));
    for workers in [0, 2] {
        let requests = requests([0, 1, 2, 3, 1, 9, 0]);
        let loader = Loader::new(samples.clone().into(), None, requests, config(workers, 3));
        let answers: Vec<Result<Example>> = loader.collect();
        let text = |i: usize| answers[i].as_ref().unwrap_err().to_string();
        assert!(answers[0].is_ok() && answers[6].is_ok());
        assert!(text(1).contains("1.png"), "{}", text(1));
        assert!(
            text(2).contains("is 5x6 but image") && text(2).contains("is 8x6"),
            "{}",
            text(2)
        );
        assert!(text(3).contains("absent.png"), "{}", text(3));
        assert_eq!(text(1), text(4));
        assert!(text(5).contains("sample 9 of 4"), "{}", text(5));
    }
}

#[test]
fn sizes_are_compared_even_if_images_are_not_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let samples = data(root, 2);
    let narrow = Mask::from_fn(5, 6, |_, _| 1);
    write_png_mask(&root.join("1_mask.png"), &narrow).unwrap();
    let config = LoaderConfig {
        images: false,
        ..config(1, 3)
    };
    let mut loader = Loader::new(samples, None, requests([0, 1]), config);
    let example = loader.next().unwrap().unwrap();
    assert!(example.image.is_none());
    assert_eq!(example.mask.foreground(), 1);
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("is 5x6 but image"), "{error}");
}

#[test]
fn workers_stay_within_their_bound_and_stop_when_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let samples = data(folder.path(), 50);
    let mut loader = Loader::new(samples.clone(), None, requests(0..50), config(3, 4));
    loader.next().unwrap().unwrap();
    // The current request and the four after it, with an image and a mask each.
    for _ in 0..1000 {
        if loader.decodes() == 10 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(loader.decodes(), 10);
    drop(loader);
    drop(Loader::new(samples, None, requests(0..50), config(3, 4)));
}

/// An image that is small to read and larger once it is resized.
#[derive(Debug)]
struct Small(usize);

impl Source for Small {
    fn id(&self) -> std::borrow::Cow<'_, str> {
        self.0.to_string().into()
    }

    fn image(&self) -> Result<RgbImage> {
        let level = |shift: usize| (self.0 >> shift) as u8;
        Ok(RgbImage::filled(2, 2, [level(0), level(8), 7]))
    }

    fn masks(&self) -> Result<Masks> {
        Ok(Mask::from_fn(2, 2, |x, _| u8::from(x == self.0 % 2)).into())
    }
}

#[test]
fn memory_stays_within_its_budget_however_samples_share_images() {
    // As many images and samples as Cityscapes has, shuffled; the images are smaller.
    let (images, requested, side) = (2975, 30_000, 24);
    let samples: Arc<[Sample]> = (0..requested)
        .map(|index| {
            let source = Arc::new(Small(index % images));
            Sample::new(index.to_string(), source, Prompts::new())
        })
        .collect();
    let mut order: Vec<usize> = (0..requested).collect();
    crate::splitting::shuffle(&mut order, 5);
    let one = side * side * 4;
    for workers in [0, 3] {
        let config = LoaderConfig {
            image_size: side,
            mask_size: side,
            workers,
            ahead: 16,
            memory: 500 * one,
            ..LoaderConfig::default()
        };
        let mut loader = Loader::new(samples.clone(), None, requests(order.clone()), config);
        for &expected in &order {
            let example = loader.next().unwrap().unwrap();
            assert_eq!(example.sample, expected);
            let image = expected % images;
            let colour = [image as u8, (image >> 8) as u8, 7];
            assert_eq!(example.image.unwrap().data[..3], colour);
            assert_eq!(example.mask.data[0], u8::from(image % 2 == 0));
        }
        // Requests within the distance are kept in any case, but they fit here.
        assert!(
            loader.peak_bytes() <= 500 * one,
            "{} bytes",
            loader.peak_bytes()
        );
        // All 2975 would have been kept otherwise; a good choice needs far fewer reads than one for each request.
        assert!(
            loader.decodes() > images && loader.decodes() < requested * 7 / 10,
            "{}",
            loader.decodes()
        );
    }
}

#[test]
fn what_the_next_requests_need_is_kept_even_without_a_budget() {
    let folder = tempfile::tempdir().unwrap();
    let samples = data(folder.path(), 6);
    let order = [0, 1, 2, 0, 3, 4, 5, 0];
    for workers in [0, 2] {
        let config = LoaderConfig {
            memory: 0,
            ..config(workers, 2)
        };
        let loader = Loader::new(samples.clone(), None, requests(order), config);
        let found: Vec<usize> = loader.map(|example| example.unwrap().sample).collect();
        assert_eq!(found, order);
    }
}

#[test]
fn requests_with_a_transform_are_read_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let samples = data(folder.path(), 3);
    let flip = crate::AugmentConfig {
        flip_horizontal: 1.0,
        ..crate::AugmentConfig::default()
    };
    let (transform, prompt) = flip.draw("left", 1);
    for workers in [0, 2] {
        let changed = || Request::new(1, prompt.clone()).with_transform(transform);
        let requests = vec![
            Request::new(1, "left"),
            changed(),
            changed(),
            Request::new(1, "left"),
            Request::new(2, "x"),
        ];
        let mut loader = Loader::new(samples.clone(), None, requests, config(workers, 3));
        let examples: Vec<Example> = loader.by_ref().map(Result::unwrap).collect();
        let prompts: Vec<&str> = examples
            .iter()
            .map(|example| example.prompt.as_str())
            .collect();
        assert_eq!(prompts, ["left", "right", "right", "left", "x"]);
        // The mask's only pixel is in the first corner, or in the last of the row.
        assert_eq!(examples[0].mask.bounding_box(), Some([0, 0, 1, 1]));
        assert_eq!(examples[1].mask.bounding_box(), Some([7, 0, 8, 1]));
        assert_eq!(examples[1].transform, Some(transform));
        assert_eq!(examples[1].image, examples[2].image);
        assert_eq!(examples[3].mask, examples[0].mask);
        assert!(examples[0].original.is_some() && examples[1].original.is_none());
        assert_eq!(
            loader.decodes(),
            6,
            "two of each kind of file, and one of each changed sample"
        );
    }
    // Errors name the file, as without a transform.
    std::fs::write(folder.path().join("0.png"), b"not an image").unwrap();
    let request = vec![Request::new(0, "x").with_transform(transform)];
    let error = Loader::new(samples, None, request, config(1, 1))
        .next()
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("0.png"), "{error}");
}

#[test]
fn padded_images_keep_their_shape_and_their_padding_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let binary = data(root, 1);
    write_png_gray(&root.join("ids.png"), 8, 6, &[3; 48]).unwrap();
    let classes = sample(root, 0, "ids.png", Target::Class(3));
    let samples: Arc<[Sample]> = [binary[0].clone(), classes].into();
    let config = LoaderConfig {
        image_size: 8,
        fit: Fit::Pad,
        ..config(0, 0)
    };
    let changed = Request::new(0, "").with_transform(Transform::IDENTITY);
    let requests = vec![Request::new(0, ""), Request::new(1, ""), changed];
    let mut loader = Loader::new(samples, None, requests, config);
    let [binary, class, changed] = [0, 1, 2].map(|_| loader.next().unwrap().unwrap());
    // 8 x 6 pixels, with a row of padding above and below.
    let rows: Vec<u8> = binary
        .image
        .as_ref()
        .unwrap()
        .data
        .chunks(24)
        .map(|row| row[0])
        .collect();
    assert_eq!(rows, [114, 0, 0, 0, 0, 0, 0, 114]);
    let ignored = |mask: &Mask| {
        let rows = mask.data.chunks(8);
        rows.map(|row| row.iter().filter(|value| **value == Mask::IGNORE).count())
            .collect::<Vec<_>>()
    };
    for example in [&binary, &class, &changed] {
        assert_eq!(ignored(&example.mask), [8, 0, 0, 0, 0, 0, 0, 8]);
    }
    assert_eq!(binary.mask.data[8], 1);
    assert_eq!(class.mask.foreground(), 48);
    let original = binary.original.unwrap();
    assert_eq!((original.width, original.height), (8, 6));
    assert_eq!((changed.image, changed.mask), (binary.image, binary.mask));
}
