//! `[augment]`: random changes of the training images.

use vlsm::data::{AugmentConfig, DataConfig, Loader, LoaderConfig, Request, Sample};
use vlsm::image::Mask;

use crate::support::{Workshop, train_args};

const ON: [&str; 10] = [
    "augment.flip_horizontal=0.5",
    "augment.flip_vertical=0.5",
    "augment.rotate=20",
    "augment.scale=0.2",
    "augment.crop=0.2",
    "augment.color=0.2",
    "augment.blur=0.5",
    "augment.noise=0.02",
    "trainer.checkpoint_every=3",
    "method.kind=decoder",
];

#[test]
fn a_killed_run_with_augmentation_continues_bit_for_bit() {
    let shop = Workshop::new();
    let whole = train_args("whole", &ON);
    shop.ok(&whole);
    // Stopped in the middle of the second epoch.
    let limited = [&ON[..], &["trainer.max_steps=16"]].concat();
    shop.ok(&train_args("stopped", &limited));
    shop.ok(&[&train_args("stopped", &ON)[..], &["--resume"]].concat());
    shop.assert_same_results("whole", "stopped");
    let killed = [&train_args("killed", &ON)[..], &["--resume"]].concat();
    shop.kill_when(
        &killed,
        || shop.lines("killed/metrics.jsonl") > 7,
        || drop(std::fs::remove_dir_all(shop.path("killed"))),
    );
    shop.ok(&killed);
    shop.assert_same_results("whole", "killed");
    // It does change the training, and the validation stays as it is.
    shop.ok(&train_args("plain", &["method.kind=decoder"]));
    assert!(shop.read("plain/metrics.jsonl") != shop.read("whole/metrics.jsonl"));
    // Other values are another run.
    let other = [&ON[..], &["augment.rotate=10"]].concat();
    let error = shop.fails(&[&train_args("whole", &other)[..], &["--resume"]].concat());
    assert!(error.contains("augment.rotate"), "{error}");
}

#[test]
fn the_paper_profile_and_the_feature_cache_exclude_it() {
    let shop = Workshop::new();
    let flip = "augment.flip_horizontal=0.5";
    let error = shop.fails(&train_args("run", &[flip, "method.profile=paper"]));
    assert!(
        error.contains("`augment`") && error.contains("paper"),
        "{error}"
    );
    let error = shop.fails(&train_args(
        "run",
        &[flip, "method.kind=decoder", "cache.features=on"],
    ));
    assert!(error.contains("`augment` changes the images"), "{error}");
    let error = shop.fails(&train_args("run", &["augment.flip_horizontal=1.5"]));
    assert!(
        error.contains("augment.flip_horizontal") && error.contains("from 0 to 1"),
        "{error}"
    );
    let error = shop.fails(&train_args("run", &["augment.flip=1"]));
    assert!(error.contains("augment.flip"), "{error}");
}

#[test]
fn a_mirrored_scene_has_what_the_prompt_asks_for_on_the_other_side() {
    let mut config = DataConfig::new("builtin:scenes");
    config.generate.train = 150;
    let dataset = vlsm_synth::open(&config).unwrap();
    let flip = AugmentConfig {
        flip_horizontal: 1.0,
        ..AugmentConfig::default()
    };
    // Objects that are in the left or right part of the image by their prompt's words.
    let mut requests = Vec::new();
    let mut sides = Vec::new();
    for (index, sample) in dataset.train.iter().enumerate() {
        let Some(prompt) = with_side(sample) else {
            continue;
        };
        let (transform, mirrored) = flip.draw(&prompt, index as u64);
        assert_ne!(prompt, mirrored);
        sides.push(mirrored.contains("left"));
        requests.push(Request::new(index, prompt));
        requests.push(Request::new(index, mirrored).with_transform(transform));
    }
    assert!(sides.len() > 10, "only {} prompts name a side", sides.len());
    assert!(sides.contains(&true) && sides.contains(&false));
    let loader = Loader::new(
        dataset.train.into(),
        None,
        requests,
        LoaderConfig::default(),
    );
    let examples: Vec<_> = loader.map(Result::unwrap).collect();
    for (pair, asked_left) in examples.chunks(2).zip(sides) {
        let [before, after] = [&pair[0], &pair[1]].map(|example| centre(&example.mask));
        assert!((before + after - 1.0).abs() < 0.01, "{before} {after}");
        assert_eq!(after < 0.5, asked_left, "{}: {after}", pair[1].prompt);
        let [before, after] = [&pair[0], &pair[1]].map(|example| example.image.as_ref().unwrap());
        let row = |x: usize| &before.data[3 * x..3 * x + 3];
        assert_eq!(row(0), &after.data[3 * (after.width - 1)..3 * after.width]);
    }
}

/// A prompt of a sample that says on which side of the image its object is.
fn with_side(sample: &Sample) -> Option<String> {
    let mut texts = sample.prompts.iter().flat_map(|(_, texts)| texts);
    let is_place = |text: &&String| text.contains("left") != text.contains("right");
    texts.find(is_place).cloned()
}

/// The mean column of a mask's foreground, from 0 to 1.
fn centre(mask: &Mask) -> f64 {
    let columns = mask
        .data
        .iter()
        .enumerate()
        .filter(|(_, value)| **value == 1);
    let (count, sum) = columns.fold((0, 0), |(count, sum), (index, _)| {
        (count + 1, sum + index % mask.width)
    });
    (sum as f64 / f64::from(count) + 0.5) / mask.width as f64
}
