//! The feature cache: `[cache]` of a recipe, and `vlsm cache`.

use std::path::PathBuf;
use std::process::Stdio;

use crate::support::{Workshop, train_args};

/// Images of the training and the validation split.
const IMAGES: usize = 30;

const SHALLOW: &str = "method.kind=shallow";

/// Trains and returns the text of standard error.
fn train(shop: &Workshop, run: &str, set: &[&str]) -> String {
    shop.says(&train_args(run, set))
}

/// The files of the cache, sorted, without the marks of use.
fn files(shop: &Workshop) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for set in shop.names("cache/features") {
        let names = shop.names(&format!("cache/features/{set}"));
        files.extend(
            names
                .iter()
                .filter(|name| *name != "used")
                .map(|name| shop.path("cache/features").join(&set).join(name)),
        );
    }
    files
}

#[test]
fn results_with_and_without_the_cache_are_equal_bit_for_bit() {
    let shop = Workshop::new();
    let methods: [&[&str]; 4] = [
        &[SHALLOW],
        &[SHALLOW, "trainer.data_parallel=2", "trainer.batch_size=5"],
        &[SHALLOW, "method.profile=paper", "method.towers=v"],
        &["method.kind=decoder"],
    ];
    for (index, method) in methods.iter().enumerate() {
        let [without, with] = ["without", "with"].map(|name| format!("{name}{index}"));
        let said = train(
            &shop,
            &without,
            &[method, &["cache.features=off"][..]].concat(),
        );
        assert!(!said.contains("feature cache"), "{said}");
        let said = train(&shop, &with, method);
        // Methods share the features.
        let stored = if index == 0 { 0 } else { IMAGES };
        assert!(said.contains("feature cache: 30 images"), "{said}");
        assert!(
            said.contains(&format!("{stored} of them already stored")),
            "{said}"
        );
        shop.assert_same_results(&without, &with);
        assert_eq!(files(&shop).len(), IMAGES);
    }
}

#[test]
fn states_below_the_first_adapted_layer_are_cached() {
    let shop = Workshop::new();
    let methods = [
        ["method.kind=dense", "method.layers=[2]"],
        ["method.kind=lora", "method.layers=[1]"],
    ];
    for (index, method) in methods.iter().enumerate() {
        let [without, with] = ["without", "with"].map(|name| format!("{name}{index}"));
        train(
            &shop,
            &without,
            &[method, &["cache.features=off"][..]].concat(),
        );
        let said = train(&shop, &with, method);
        assert!(said.contains("feature cache: 30 images"), "{said}");
        assert!(said.contains("0 of them already stored"), "{said}");
        shop.assert_same_results(&without, &with);
        // Other layers, other states.
        assert_eq!(files(&shop).len(), (index + 1) * IMAGES);
    }
}

#[test]
fn half_precision_is_close_and_does_not_depend_on_storage() {
    let shop = Workshop::new();
    train(&shop, "exact", &[SHALLOW]);
    let half = [SHALLOW, "cache.dtype=f16"];
    train(&shop, "filling", &half);
    train(&shop, "filled", &half);
    let said = train(
        &shop,
        "unstored",
        &[&half[..], &["cache.max_gb=0"]].concat(),
    );
    assert!(
        said.contains("no feature cache") && said.contains("cache.max_gb"),
        "{said}"
    );
    shop.assert_same_results("filling", "filled");
    shop.assert_same_results("filling", "unstored");
    assert_eq!(files(&shop).len(), 2 * IMAGES);
    let [exact, rounded] = ["exact", "filled"].map(|run| shop.metrics(run));
    let mut differs = false;
    for (exact, rounded) in exact.iter().zip(&rounded).take(24) {
        let [a, b] = [exact, rounded].map(|line| line["loss"].as_f64());
        if let (Some(a), Some(b)) = (a, b) {
            assert!((a - b).abs() < 1e-3 * a, "{a} and {b}");
            differs |= a != b;
        }
    }
    assert!(differs);
}

#[test]
fn damaged_files_are_written_again() {
    let shop = Workshop::new();
    train(&shop, "first", &[SHALLOW]);
    let files = files(&shop);
    let whole: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for (index, (file, whole)) in files.iter().zip(&whole).enumerate() {
        let mut damaged = whole.clone();
        match index {
            0 => damaged.truncate(whole.len() / 2),
            1 => damaged.clear(),
            2 => damaged[whole.len() / 2] ^= 1,
            3 => damaged.push(0),
            4 => damaged = b"something else".to_vec(),
            _ => continue,
        }
        std::fs::write(file, damaged).unwrap();
    }
    std::fs::remove_file(&files[5]).unwrap();
    train(&shop, "second", &[SHALLOW]);
    shop.assert_same_results("first", "second");
    for (file, whole) in files.iter().zip(&whole) {
        assert!(&std::fs::read(file).unwrap() == whole, "{}", file.display());
    }
}

#[test]
fn a_changed_image_and_another_base_have_separate_features() {
    let shop = Workshop::new();
    train(&shop, "before", &[SHALLOW]);
    let other = shop.read("data/images/train1.png");
    shop.write("data/images/train0.png", other);
    train(&shop, "with", &[SHALLOW]);
    train(&shop, "without", &[SHALLOW, "cache.features=off"]);
    shop.assert_same_results("with", "without");
    assert!(shop.read("before/metrics.jsonl") != shop.read("with/metrics.jsonl"));
    // The image now equals one that is already stored.
    assert_eq!(files(&shop).len(), IMAGES);

    shop.make_base("base2", 2);
    train(&shop, "other", &[SHALLOW, "model.base=base2"]);
    assert_eq!(files(&shop).len(), 2 * IMAGES - 1);
    train(
        &shop,
        "larger",
        &[SHALLOW, "model.image_size=48", "trainer.epochs=2"],
    );
    assert_eq!(shop.names("cache/features").len(), 3);
}

#[test]
fn parallel_runs_share_one_cache() {
    let shop = Workshop::new();
    let runs = ["a", "b", "c"];
    let mut children = runs.map(|run| {
        let mut command = shop.command(&train_args(run, &[SHALLOW]));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    shop.assert_same_results("a", "b");
    shop.assert_same_results("a", "c");
    let files = files(&shop);
    assert_eq!(files.len(), IMAGES);
    assert!(
        files
            .iter()
            .all(|file| file.extension().unwrap() == "features")
    );
}

#[test]
fn an_unusable_cache_folder_does_not_stop_a_run() {
    let shop = Workshop::new();
    train(&shop, "without", &[SHALLOW, "cache.features=off"]);
    let said = train(
        &shop,
        "with",
        &[SHALLOW, "cache.dir=recipe.toml", "cache.features=on"],
    );
    assert!(
        said.contains("no feature cache") && said.contains("cache.dir"),
        "{said}"
    );
    shop.assert_same_results("without", "with");
}

#[test]
fn features_that_training_changes_are_not_cached() {
    let shop = Workshop::new();
    let few = ["trainer.max_steps=13"];
    for method in ["method.kind=dense", "method.kind=full"] {
        let run = &method["method.kind=".len()..];
        let said = train(&shop, run, &[&few[..], &[method]].concat());
        assert!(!said.contains("feature cache"), "{said}");
        let error = shop.fails(&train_args("on", &[method, "cache.features=on"]));
        assert!(
            error.contains("`cache.features`") && error.contains("`method.kind`"),
            "{error}"
        );
    }
    assert!(!shop.path("on").exists());
    let error = shop.fails(&train_args("on", &[SHALLOW, "model.image_size=33"]));
    assert!(error.contains("patch size"), "{error}");
    // A single epoch reuses no feature, so nothing is cached unless the recipe insists.
    let one = [SHALLOW, "trainer.epochs=1"];
    assert!(!train(&shop, "one", &one).contains("feature cache"));
    assert!(!shop.path("cache").exists());
    train(
        &shop,
        "insisted",
        &[&one[..], &["cache.features=on"]].concat(),
    );
    assert_eq!(files(&shop).len(), IMAGES);

    let drawn = [
        SHALLOW,
        "data.root=builtin:scenes",
        "data.generate.train=2",
        "data.generate.val=1",
        "data.generate.test=1",
        "trainer.epochs=2",
    ];
    assert!(!train(&shop, "scenes", &drawn).contains("feature cache"));
    let error = shop.fails(&train_args(
        "on",
        &[&drawn[..], &["cache.features=on"]].concat(),
    ));
    assert!(
        error.contains("`cache.features`") && error.contains("`data.root`"),
        "{error}"
    );
}

#[test]
fn features_of_drawn_images_are_cached_too() {
    let shop = Workshop::new();
    let drawn = [
        SHALLOW,
        "data.root=builtin:street",
        "data.generate.train=3",
        "data.generate.val=2",
        "data.generate.test=1",
        "trainer.epochs=2",
    ];
    train(&shop, "with", &drawn);
    train(
        &shop,
        "without",
        &[&drawn[..], &["cache.features=off"]].concat(),
    );
    shop.assert_same_results("with", "without");
    assert_eq!(files(&shop).len(), 5);
}

#[test]
fn the_cache_is_shown_and_cleared() {
    let shop = Workshop::new();
    assert!(shop.ok(&["cache"]).contains("images  0\n"));
    train(&shop, "run", &[SHALLOW]);
    shop.write("cache/features/32/notes.txt", "not ours");
    let shown = shop.ok(&["cache"]);
    assert!(
        shown.contains("cache/features") && shown.contains("images  30\n"),
        "{shown}"
    );
    assert!(
        shop.ok(&["cache", "clear", "--dir", "data"])
            .contains("deleted  0\n")
    );
    assert!(shop.ok(&["cache", "clear"]).contains("deleted  30\n"));
    assert_eq!(shop.names("cache/features"), ["32"]);
    assert!(shop.ok(&["cache"]).contains("images  0\n"));
}
