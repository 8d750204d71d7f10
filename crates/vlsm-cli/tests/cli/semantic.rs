//! Labels of whole images: `vlsm eval --semantic`, `vlsm predict --classes`, `Segmenter::segment`.

use serde_json::{Value, json};
use vlsm::data::{DataConfig, Split};
use vlsm::image::{ClassMap, RgbImage, read_class_map, read_image, write_png_gray, write_png_rgb};
use vlsm::{ClassList, Segmenter};
use vlsm_synth::Domain;

use crate::snapshots::{assert_snapshot, without_numbers};
use crate::support::{Workshop, train_args};

/// The classes of the streets have the ids 0 to 3; 4 is the background, 11 is ignored.
const NAMES: [&str; 4] = ["road", "sky", "car", "sign"];
const IGNORE: u8 = 11;
/// Images of each split.
const SPLITS: [(Split, usize); 3] = [(Split::Train, 3), (Split::Val, 2), (Split::Test, 5)];

/// Drawn streets as masks of class ids; a strip on the left of each is ignored.
pub(crate) fn make_streets(shop: &Workshop) {
    let mut config = DataConfig::new(format!("builtin:{}", Domain::Street.name()));
    config.generate.side = 72;
    for (split, count) in SPLITS {
        *match split {
            Split::Train => &mut config.generate.train,
            Split::Val => &mut config.generate.val,
            Split::Test => &mut config.generate.test,
        } = count;
    }
    let drawn = vlsm_synth::open(&config).unwrap();
    for split in Split::ALL {
        let folder = shop.path("streets").join(split.name());
        for part in ["images", "masks"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        let same_image =
            |a: &vlsm::data::Sample, b: &vlsm::data::Sample| a.source.id() == b.source.id();
        for (number, samples) in drawn.split(split).chunk_by(same_image).enumerate() {
            let mut ids = vec![4; 72 * 72];
            for sample in samples {
                let id = NAMES.iter().position(|name| *name == sample.group).unwrap();
                let (image, mask) = sample.read(None).unwrap();
                write_png_rgb(&folder.join(format!("images/{number}.png")), &image).unwrap();
                for (label, found) in ids.iter_mut().zip(mask.data) {
                    if found == 1 {
                        *label = id as u8;
                    }
                }
            }
            for row in ids.chunks_mut(72) {
                row[..5].fill(IGNORE);
            }
            write_png_gray(&folder.join(format!("masks/{number}.png")), 72, 72, &ids).unwrap();
        }
    }
    name_classes(shop, &json!([NAMES[0], NAMES[1], NAMES[2], NAMES[3], null]));
}

fn name_classes(shop: &Workshop, names: &Value) {
    let classes = json!({"classes": names, "ignore_index": IGNORE});
    shop.write("streets/classes.json", classes.to_string());
}

/// True and predicted labels of the test images.
fn labels(shop: &Workshop, folder: &str) -> Vec<(ClassMap, ClassMap)> {
    let read = |path: String| read_class_map(&shop.path(&path)).unwrap();
    (0..5)
        .map(|number| {
            let truth = read(format!("streets/test/masks/{number}.png"));
            (truth, read(format!("{folder}/{number}.png")))
        })
        .collect()
}

/// True, predicted and common pixels of an id where the truth is known.
fn count(pairs: &[(ClassMap, ClassMap)], id: u8) -> [u64; 3] {
    let pixels = pairs.iter().flat_map(|(truth, predicted)| {
        let pixels = truth.data.iter().zip(&predicted.data);
        pixels.filter(|(truth, _)| **truth != IGNORE)
    });
    pixels.fold([0; 3], |[t, p, b], (truth, predicted)| {
        let (truth, predicted) = (*truth == id, *predicted == id);
        [
            t + u64::from(truth),
            p + u64::from(predicted),
            b + u64::from(truth && predicted),
        ]
    })
}

fn iou([truth, predicted, both]: [u64; 3]) -> f64 {
    both as f64 / (truth + predicted - both) as f64
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

const EVAL: [&str; 8] = [
    "eval",
    "--base",
    "builtin:tiny",
    "--data",
    "streets",
    "--semantic",
    "--batch-size",
    "2",
];

#[test]
fn iou_is_computed_from_the_written_labels() {
    let shop = Workshop::new();
    make_streets(&shop);
    let files = ["--masks", "ids", "--csv", "new/pixels.csv", "--json"];
    let result: Value = serde_json::from_str(&shop.ok(&[&EVAL[..], &files].concat())).unwrap();
    let pairs = labels(&shop, "ids");
    let classes = result["classes"].as_array().unwrap();
    let names: Vec<&str> = classes
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["road", "sky", "car", "sign", "background"]);
    let mut ious = Vec::new();
    for (id, class) in (0u8..).zip(classes) {
        let counts = count(&pairs, id);
        assert_eq!(class["truth"], counts[0]);
        assert_eq!(class["predicted"], counts[1]);
        assert_eq!(class["both"], counts[2]);
        assert_eq!(
            result["confusion"][usize::from(id)][usize::from(id)],
            counts[2]
        );
        near(&class["iou"], iou(counts));
        ious.push(iou(counts));
    }
    near(&result["miou"], ious.iter().sum::<f64>() / 5.0);
    assert_eq!(result["images"], 5);
    assert_eq!(result["pixels"], 5 * 67 * 72);
    assert_eq!(result["background"], 0.5);

    // The sums of the table's lines are the same.
    let mut table = csv::Reader::from_path(shop.path("new/pixels.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let of_road = rows.iter().filter(|row| &row[2] == "road");
    let sum: u64 = of_road.map(|row| row[5].parse::<u64>().unwrap()).sum();
    assert_eq!(sum, count(&pairs, 0)[2]);

    // `predict` and the facade give the same labels.
    shop.ok(&[
        "predict",
        "--base",
        "builtin:tiny",
        "--classes",
        "streets/classes.json",
        "streets/test/images/3.png",
        "-o",
        "out",
    ]);
    assert_eq!(
        shop.names("out"),
        [
            "3.labels-overlay.png",
            "3.labels.png",
            "predictions.csv",
            "predictions.json"
        ]
    );
    let predicted = read_class_map(&shop.path("out/3.labels.png")).unwrap();
    assert_eq!(predicted, pairs[3].1);
    let segmenter = Segmenter::from_pretrained("builtin:tiny").unwrap();
    let image = segmenter
        .set_image_file(shop.path("streets/test/images/3.png"))
        .unwrap();
    let classes = ClassList::read(&shop.path("streets/classes.json")).unwrap();
    assert_eq!(segmenter.segment(&image, &classes).unwrap(), predicted);
}

#[test]
fn without_a_threshold_every_pixel_gets_a_class() {
    let shop = Workshop::new();
    make_streets(&shop);
    let text = shop.ok(&[&EVAL[..], &["--background", "0", "--masks", "ids"]].concat());
    assert_snapshot("eval_semantic", &without_numbers(&text));
    let pairs = labels(&shop, "ids");
    assert_eq!(count(&pairs, 4)[1], 0);
    // The same without the option if all ids have names.
    name_classes(&shop, &json!(["road", "sky", "car", "sign", "town"]));
    let four = [&EVAL[..], &["--json"]].concat();
    let result: Value = serde_json::from_str(&shop.ok(&four)).unwrap();
    assert_eq!(result["background"], 0.0);
    // No pixel is predicted to have no class.
    assert!((0..5).all(|id| result["confusion"][id][5] == 0));
}

#[test]
fn a_run_has_the_miou_in_its_summary_and_report() {
    let shop = Workshop::new();
    make_streets(&shop);
    let trained = shop.ok(&train_args(
        "run",
        &["data.root=streets", "trainer.epochs=1"],
    ));
    let summary = shop.json("run/summary.json");
    let result = shop.ok(&["eval", "run", "--semantic", "--json"]);
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(summary["semantic"]["miou"], result["miou"]);
    assert_eq!(summary["semantic"]["classes"], result["classes"]);
    assert!(trained.contains("test mIoU"));
    for page in ["run/report.html", "run/eval.html"] {
        let html = String::from_utf8(shop.read(page)).unwrap();
        assert!(html.contains("Labels of whole images"), "{page}");
    }
}

/// At the model's own size nothing is resized, so that labels follow from the probabilities.
#[test]
fn labels_are_the_most_likely_masks() {
    let shop = Workshop::new();
    let segmenter = Segmenter::from_pretrained(shop.path("base").to_str().unwrap()).unwrap();
    let picture = read_image(&shop.path("data/images/test0.png")).unwrap();
    let data = picture.data[..32 * 32 * 3].to_vec();
    let image = RgbImage::new(32, 32, data).unwrap();
    let image = segmenter.set_image(&image).unwrap();
    let prompts = ["disc", "a bright disc", "noise", "one disc on the left"];
    let answers = segmenter.predict_all(&image, &prompts).unwrap();
    let classes = ClassList::of_prompts(&prompts).unwrap();
    for background in [0.5, 0.0] {
        let classes = classes.clone().with_background(background).unwrap();
        let labels = segmenter.segment(&image, &classes).unwrap();
        for (pixel, label) in labels.data.iter().enumerate() {
            let best = (0u8..4)
                .map(|id| (id, answers[usize::from(id)].probability[pixel]))
                .reduce(|a, b| if b.1 > a.1 { b } else { a })
                .unwrap();
            let at_rim = (best.1 - background).abs() < 1e-5;
            let expected = if best.1 > background {
                best.0
            } else {
                ClassList::NONE
            };
            let ahead = answers
                .iter()
                .filter(|one| best.1 - one.probability[pixel] < 1e-5);
            // Rounding may decide between equal probabilities.
            if !at_rim && ahead.count() == 1 {
                assert_eq!(*label, expected, "pixel {pixel}");
            }
        }
    }
}

#[test]
fn prompts_label_a_photo_with_a_legend() {
    let shop = Workshop::new();
    let arguments = [
        "predict",
        "--base",
        "base",
        "data/images/test0.png",
        "-o",
        "out",
    ];
    let prompts = ["--prompt", "disc", "--prompt", "noise", "--semantic"];
    let text = shop.ok(&[&arguments[..], &prompts, &["--background", "0"]].concat());
    assert!(text.contains("share") && text.contains("test0.labels.png"));
    let labels = read_class_map(&shop.path("out/test0.labels.png")).unwrap();
    assert!(labels.data.iter().all(|id| *id < 2));
    let overlay = read_image(&shop.path("out/test0.labels-overlay.png")).unwrap();
    assert_eq!((labels.width, labels.height), crate::support::SIZE);
    assert!(overlay.height > labels.height);
}

#[test]
fn what_cannot_be_labelled_is_an_error() {
    let shop = Workshop::new();
    let base = ["--base", "base"];
    let error = shop.fails(&[&["eval", "--data", "data", "--semantic"][..], &base].concat());
    assert!(error.contains("are binary (format annotations)"), "{error}");
    let predict = ["predict", "data/images/test0.png", "-o", "out"];
    let two = [&predict[..], &base, &["--prompt", "a", "--prompt", "a"]].concat();
    let error = shop.fails(&[&two[..], &["--semantic"]].concat());
    assert!(error.contains("ids 0 and 1 are both named `a`"), "{error}");
    let error = shop.fails(&[&two[..], &["--background", "0.2"]].concat());
    assert!(error.contains("--semantic or --classes"), "{error}");
    shop.write("classes.json", r#"{"classes": ["car", "sky"]}"#);
    let classes = [&predict[..], &base, &["--classes", "classes.json"]].concat();
    let error = shop.fails(&[&classes[..], &["--background", "1.5"]].concat());
    assert!(error.contains("1.5 is not a probability"), "{error}");
    let error = shop.fails(&[&predict[..], &base, &["--classes", "gone.json"]].concat());
    assert!(error.contains("gone.json"), "{error}");
    assert!(!shop.path("out").exists());
    for arguments in [
        &["eval", "--data", "data", "--semantic", "--prompt-set", "p1"][..],
        &["eval", "--data", "data", "--background", "0.5"],
        &[
            &predict[..],
            &["--classes", "classes.json", "--prompt", "a"],
        ]
        .concat(),
    ] {
        let output = shop.run(&[arguments, &base].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// A SAN gives each of its masks to one of the classes, unless a threshold asks for the probability of a single class.
#[test]
fn a_san_labels_with_its_own_vocabulary() {
    let shop = Workshop::new();
    make_streets(&shop);
    name_classes(&shop, &json!(["road", "sky", "car", "sign", "background"]));
    shop.write("san.json", crate::models::SAN);
    shop.ok(&["model", "init", "--config", "san.json", "-o", "san"]);
    let eval = ["eval", "--base", "san", "--data", "streets", "--semantic"];
    let own = shop.ok_json(&eval);
    assert_eq!(own["vocabulary"], true);
    assert!(shop.ok(&eval).contains("as SAN does it"));
    let threshold = shop.ok_json(&[&eval[..], &["--background", "0.001"]].concat());
    assert_eq!(threshold["vocabulary"], false);
    assert_ne!(own["confusion"], threshold["confusion"]);
    let other = shop.ok_json(&["eval", "--base", "base", "--data", "streets", "--semantic"]);
    assert_eq!(other["vocabulary"], false);
    // Prediction labels in the same way.
    let image = "streets/test/images/0.png";
    shop.ok(&[
        "eval",
        "--base",
        "san",
        "--data",
        "streets",
        "--semantic",
        "--masks",
        "masks",
    ]);
    shop.ok(&[
        "predict",
        "--base",
        "san",
        "--classes",
        "streets/classes.json",
        image,
        "-o",
        "out",
    ]);
    let masks = shop.names("masks");
    let labels = read_class_map(&shop.path("masks").join(&masks[0])).unwrap();
    assert_eq!(
        read_class_map(&shop.path("out/0.labels.png")).unwrap(),
        labels
    );
}
