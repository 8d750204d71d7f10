//! A data set in memory gives the same examples as the same data in files.

// Clippy's exception for tests covers test functions, but not their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;
use std::sync::Arc;

use vlsm_data::{
    Arrays, DataConfig, DataError, Dataset, Example, Loader, LoaderConfig, Masks, Prompts, Request,
    Result, Sample, Source, Split, Target,
};
use vlsm_image::{ClassMap, Mask, RgbImage, write_png_gray, write_png_mask, write_png_rgb};

fn image(index: usize) -> RgbImage {
    RgbImage::from_fn(40, 30, |x, y| {
        [5 * x as u8, 7 * y as u8, (31 * index) as u8]
    })
}

fn mask(index: usize) -> Mask {
    Mask::from_fn(40, 30, |x, y| u8::from(x > index && y > 2 * index))
}

fn labels(index: usize) -> ClassMap {
    ClassMap::new(
        40,
        30,
        (0..40 * 30).map(|at| ((at + index) % 3) as u8).collect(),
    )
    .unwrap()
}

/// All examples of a split, each sample once.
fn examples(dataset: &Dataset, split: Split, images: bool) -> Vec<Example> {
    let samples = dataset.split(split);
    let request = |sample: usize| Request::new(sample, samples[sample].name.clone());
    let requests = (0..samples.len()).map(request).collect();
    let config = LoaderConfig {
        image_size: 32,
        mask_size: 16,
        keep_original: true,
        images,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(samples.into(), dataset.ignore, requests, config);
    loader.collect::<Result<_>>().unwrap()
}

fn assert_same(files: &Dataset, memory: &Dataset) {
    for split in Split::ALL {
        for images in [true, false] {
            let files = examples(files, split, images);
            let memory = examples(memory, split, images);
            assert_eq!(files.len(), memory.len());
            for (file, memory) in files.iter().zip(&memory) {
                assert_eq!(file.prompt, memory.prompt);
                assert_eq!(file.image, memory.image);
                assert_eq!(file.image.is_some(), images);
                assert_eq!(file.mask, memory.mask);
                assert_eq!(file.original, memory.original);
            }
        }
    }
}

#[test]
fn binary_masks_in_memory_equal_those_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (split, indices) in Split::ALL.into_iter().zip([0..6, 6..8, 8..11]) {
        for index in indices {
            let path = |kind: &str| {
                let folder = root.join(split.name()).join(kind);
                std::fs::create_dir_all(&folder).unwrap();
                folder.join(format!("{index:02}.png"))
            };
            write_png_rgb(&path("images"), &image(index)).unwrap();
            write_png_mask(&path("masks"), &mask(index)).unwrap();
        }
    }
    let config = DataConfig {
        prompt: "polyp".parse().unwrap(),
        ..DataConfig::new(root)
    };
    let files = Dataset::open(&config).unwrap();
    let sample = |index: usize| {
        let name = format!("{index:02}");
        let source = Arrays::new(name.clone(), image(index), mask(index));
        Sample::new(name, Arc::new(source), Prompts::new())
    };
    let splits = [0..6, 6..8, 8..11].map(|indices| indices.map(sample).collect());
    let memory = Dataset::from_splits("polyps", splits).unwrap();
    assert_eq!(
        [files.train.len(), files.val.len(), files.test.len()],
        [6, 2, 3]
    );
    assert_same(&files, &memory);
}

#[test]
fn class_ids_in_memory_equal_those_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let path = |name: &str| {
        let path = root.join("train").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for index in 0..3 {
        let (name, map) = (format!("{index}.png"), labels(index));
        write_png_rgb(&path(&format!("images/{name}")), &image(index)).unwrap();
        write_png_gray(&path(&format!("masks/{name}")), 40, 30, &map.data).unwrap();
    }
    let names = r#"{"classes": ["road", "car", null], "ignore_index": 2}"#;
    std::fs::write(root.join("classes.json"), names).unwrap();
    let files = Dataset::open(&DataConfig::new(root)).unwrap();
    let mut train = Vec::new();
    for index in 0..3 {
        let source: Arc<dyn Source> =
            Arc::new(Arrays::new(format!("{index}"), image(index), labels(index)));
        for (class, name) in [(0, "road"), (1, "car")] {
            train.push(Sample {
                target: Target::Class(class),
                group: name.to_string(),
                ..Sample::new(
                    format!("{index}.{name}"),
                    Arc::clone(&source),
                    Prompts::from_texts(vec![name.to_string()]),
                )
            });
        }
    }
    let classes = ["road", "car", ""].map(str::to_string).to_vec();
    let memory = Dataset::from_splits("streets", [train, vec![], vec![]])
        .unwrap()
        .with_classes(classes, Some(2), Default::default());
    assert_same(&files, &memory);
    assert_eq!(files.class_list().unwrap(), memory.class_list().unwrap());
}

/// A user's source with errors and panics.
#[derive(Debug)]
struct Camera(usize);

impl Source for Camera {
    fn id(&self) -> Cow<'_, str> {
        format!("frame {}", self.0).into()
    }

    fn image(&self) -> Result<RgbImage> {
        match self.0 {
            1 => Err(DataError::source(self.id(), "the camera is off")),
            2 => panic!("lens cap"),
            index => Ok(image(index)),
        }
    }

    fn masks(&self) -> Result<Masks> {
        Ok(match self.0 {
            3 => Mask::empty(40, 29).into(),
            4 => labels(4).into(),
            index => mask(index).into(),
        })
    }
}

#[test]
fn errors_of_a_source_fail_only_its_requests() {
    let samples = (0..5)
        .map(|index| Sample::new(format!("{index}"), Arc::new(Camera(index)), Prompts::new()));
    let samples: Vec<Sample> = samples.collect();
    for workers in [0, 2] {
        let request = |sample| Request::new(sample, String::new());
        let config = LoaderConfig {
            workers,
            ..LoaderConfig::default()
        };
        let loader = Loader::new(
            samples.clone().into(),
            None,
            (0..5).map(request).collect(),
            config,
        );
        let answers: Vec<Result<Example>> = loader.collect();
        assert!(answers[0].is_ok());
        for (index, wanted) in [
            (1, "`frame 1` cannot be read: the camera is off"),
            (2, "lens cap"),
            (3, "is 40x29 but image"),
            (4, "no binary mask with index 0"),
        ] {
            let error = answers[index].as_ref().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}

#[test]
fn a_digest_depends_on_pixels_and_size() {
    let digest = |width, height, level| {
        let image = RgbImage::filled(width, height, [level; 3]);
        let source = Arrays::new("x", image, Mask::empty(width, height));
        source.image_digest().unwrap()
    };
    assert_eq!(digest(4, 2, 9), digest(4, 2, 9));
    assert_ne!(digest(4, 2, 9), digest(2, 4, 9));
    assert_ne!(digest(4, 2, 9), digest(4, 2, 8));
}

#[test]
fn two_samples_of_the_same_name_are_refused() {
    let sample = |_| Sample::new("a", Arc::new(Camera(0)), Prompts::new());
    let train: Vec<Sample> = (0..2).map(sample).collect();
    let error = Dataset::from_splits("x", [train, vec![], vec![]]).unwrap_err();
    assert!(error.to_string().contains("are named `a`"), "{error}");
}
