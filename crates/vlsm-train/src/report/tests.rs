use std::sync::Arc;

use vlsm_data::{ClassPixels, FilePair};
use vlsm_image::{Mask, RgbImage};

use super::*;
use crate::evaluate::ClassMetrics;
use crate::evaluate::{Oracle, SampleScores};

const PROMPT: &str = "<b>&\"";

fn row(sample: usize, set: &str, dice: f64) -> SampleScores {
    SampleScores {
        group: String::new(),
        sample: format!("case{sample}"),
        subject: format!("case{sample}"),
        set: set.into(),
        oracle: Oracle::No,
        prompt: PROMPT.into(),
        dice,
        iou: dice / 2.0,
        hd95: 10.0,
        one_empty: dice == 0.0,
    }
}

fn run(name: &str, shift: f64) -> ReportRun {
    let dice = |sample: usize| (0.1 * sample as f64 + shift).min(1.0);
    ReportRun {
        name: name.into(),
        trained: 1_784_448,
        total: 152_000_000,
        seconds: Some(4000.0),
        peak_memory: Some(1_640_000_000),
        curves: Some(Curves {
            step_loss: vec![(1.0, 2.0), (2.0, 1.5)],
            lr: vec![(1.0, 1e-3), (2.0, 1e-3)],
            train_loss: vec![(2.0, 1.75)],
            val_loss: vec![(2.0, 1.6)],
            val_dice: vec![(2.0, 0.4)],
        }),
        rows: (0..5)
            .flat_map(|sample| ["p6", "p1"].map(|set| row(sample, set, dice(sample))))
            .collect(),
        pictures: Vec::new(),
        semantic: None,
    }
}

fn report(names: &[&str]) -> Report {
    let (width, height) = (300, 200);
    let mask = Mask::from_fn(width, height, |x, y| u8::from((y * width + x) % 300 > 200));
    let predictions = names.iter().map(|name| CasePrediction {
        run: (*name).into(),
        mask: mask.clone(),
        dice: 0.912,
    });
    Report {
        title: "Adapters on <i>polyps".into(),
        lead: "Better & faster.".into(),
        facts: vec![("Base".into(), "a \"base\" <x>".into())],
        cases: vec![Case {
            kind: CaseKind::Best,
            of: "dense".into(),
            sample: "case4".into(),
            set: "p6".into(),
            prompt: PROMPT.into(),
            image: RgbImage::filled(width, height, [90; 3]),
            truth: mask.clone(),
            predictions: predictions.collect(),
        }],
        runs: names
            .iter()
            .zip([0.0, 0.2])
            .map(|(name, shift)| run(name, shift))
            .collect(),
        ..Report::default()
    }
}

/// Every address in the page is inline data, and text of the user is never markup.
#[test]
fn the_page_is_self_contained_and_escaped() {
    let page = report(&["dense", "<u>"]).html().unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let sources = page.split("src=\"").skip(1);
    assert_eq!(sources.clone().count(), 4);
    assert!(
        sources
            .into_iter()
            .all(|source| source.starts_with("data:image/jpeg;base64,"))
    );
    for raw in ["<b>&", "<i>", "<x>", "<u>"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("“&lt;b&gt;&amp;&quot;”") && page.contains("Better &amp; faster."));
}

/// The gallery has every case of the first prompt set with its pictures; names are text in its data too.
#[test]
fn the_gallery_has_every_case() {
    let mut report = report(&["dense"]);
    assert!(!report.html().unwrap().contains("id=\"gallery\""));
    let pictures = CasePictures {
        width: 30,
        height: 20,
        image: b"image".to_vec(),
        truth: b"truth".to_vec(),
        prediction: b"prediction".to_vec(),
        truth_share: 0.25,
        predicted_share: 0.5,
    };
    report.runs[0].pictures = vec![pictures; 5];
    report.runs[0].rows[0].sample = "</script><b>".into();
    let page = report.html().unwrap();
    assert!(page.contains("\\u003c/script>\\u003cb>"), "{page}");
    // The cases, five times pictures, and the script.
    assert_eq!(page.matches("<script").count(), 7);
    assert_eq!(page.matches("</script>").count(), 7);
    assert!(page.contains("\"truth\":0.25") && page.contains("id=\"pictures-4\""));
    for wanted in [
        "How to read this",
        "Neither the model nor this page is a medical device",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    for outside in ["http://", "https://", "<link", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// Samples of one patient have a row together, those with the lowest mean first.
#[test]
fn patients_have_a_table() {
    let mut report = report(&["dense"]);
    assert!(!report.html().unwrap().contains("Dice by patient"));
    for row in &mut report.runs[0].rows {
        let first = ["case0", "case1"].contains(&row.sample.as_str());
        row.subject = if first { "B" } else { "A" }.into();
    }
    let page = report.html().unwrap();
    // Means of 0 and 0.1, and of 0.2, 0.3 and 0.4.
    let b =
        page.find("<th scope=\"row\">B</th><td>2</td><td>0.050</td><td>0.000</td><td>0.100</td>");
    let a =
        page.find("<th scope=\"row\">A</th><td>3</td><td>0.300</td><td>0.200</td><td>0.400</td>");
    assert!(b.is_some() && b < a, "{page}");
    assert!(page.contains("5 samples of 2 patients or images") && page.contains("is 0.175"));
}

#[test]
fn one_run_has_one_row_and_several_are_compared() {
    let page = report(&["dense"]).html().unwrap();
    // Mean and standard deviation of 0, 0.1, ..., 0.4.
    assert!(
        page.contains("0.200<span class=\"spread\"> ± 0.158"),
        "{page}"
    );
    assert!(page.contains("prediction <b>0.912"));
    assert!(page.contains("1 h 06 min") && page.contains("1.64 GB"));
    assert!(page.contains("1,784,448") && page.contains("1.17 %"));
    assert!(!page.contains("class=\"best\""));
    let page = report(&["dense", "shallow"]).html().unwrap();
    assert!(page.contains("<td class=\"best\">0.400"), "{page}");
    // The second run's Dice and IoU, and HD95, in which both are equal.
    assert_eq!(page.matches("<td class=\"best\">").count(), 4);
    assert!(page.contains("shallow <b>0.912") && page.contains("<strong>best of dense"));
}

#[test]
fn what_is_missing_is_left_out() {
    let mut bare = report(&["dense"]);
    bare.cases.clear();
    bare.runs[0].rows.clear();
    bare.runs[0].curves = None;
    let page = bare.html().unwrap();
    for section in [
        "Results",
        "Dice of each sample",
        "Training",
        "Best, median",
        "Dice by prompt",
    ] {
        assert!(!page.contains(section), "{section}");
    }
    assert!(page.contains("Parameters, time and memory"));
}

#[test]
fn prompts_from_the_mask_are_marked() {
    let mut report = report(&["dense"]);
    let page = report.html().unwrap();
    assert!(page.contains("p6<sup><a href=\"#oracle\">†") && page.contains("<p id=\"oracle\">†"));
    assert!(!page.contains("p1<sup>"));
    let parts = vec!["shape".to_owned(), "place".to_owned()];
    report.oracle = Some(BTreeMap::from([("p6".to_owned(), parts)]));
    let page = report.html().unwrap();
    assert!(!page.contains('†') && page.contains("shape, place"));
    assert!(page.contains("p6 <a class=\"oracle\" href=\"#oracle\">oracle"));
    report.oracle = Some(BTreeMap::new());
    let page = report.html().unwrap();
    assert!(!page.contains("#oracle\""), "{page}");
}

#[test]
fn oracle_parts_of_all_samples_are_gathered() {
    let sample = |oracle: Option<&str>| Sample {
        group: String::new(),
        name: "a".into(),
        subject: String::new(),
        source: Arc::new(FilePair::new("a.png", "a.png", false)),
        target: vlsm_data::Target::Mask(0),
        prompts: vlsm_data::Prompts::new(),
        oracle: oracle.map(|json| serde_json::from_str(json).unwrap()),
    };
    assert_eq!(oracle(&[sample(None)]), None);
    assert_eq!(
        oracle(&[sample(None), sample(Some("{}"))]),
        Some(BTreeMap::new())
    );
    let samples = [
        sample(Some(r#"{"p2": ["shape"]}"#)),
        sample(Some(r#"{"p2": ["colour", "shape"], "p3": []}"#)),
    ];
    let gathered = serde_json::to_string(&oracle(&samples)).unwrap();
    assert_eq!(gathered, r#"{"p2":["shape","colour"],"p3":[]}"#);
}

#[test]
fn several_groups_have_a_table() {
    let mut report = report(&["dense"]);
    assert!(!report.html().unwrap().contains("Dice by group"));
    for row in &mut report.runs[0].rows {
        let lesion = ["case0", "case1"].contains(&row.sample.as_str());
        row.group = if lesion { "lesion" } else { "duct" }.into();
    }
    let page = report.html().unwrap();
    // Means and standard deviations of 0 and 0.1, and of 0.2, 0.3 and 0.4, each under the first prompt set.
    let cell = |group: &str, n: usize, dice: &str| {
        format!("<th scope=\"row\">{group}</th><td>{n}</td><td>{dice}")
    };
    assert!(page.contains(&cell("lesion", 2, "0.050<span class=\"spread\"> ± 0.071")));
    assert!(page.contains(&cell("duct", 3, "0.300<span class=\"spread\"> ± 0.100")));
}

#[test]
fn whole_image_labels_have_their_own_section() {
    let class = |id: u8, name: &str, both: u64| {
        let pixels = ClassPixels {
            truth: 4000,
            predicted: 2000,
            both,
        };
        ClassMetrics {
            id,
            name: name.into(),
            iou: pixels.iou(),
            accuracy: pixels.accuracy(),
            pixels,
        }
    };
    let mut report = report(&["dense", "full"]);
    assert!(!report.html().unwrap().contains("mIoU"));
    report.runs[1].semantic = Some(SemanticMetrics {
        images: 7,
        miou: 0.125,
        mean_accuracy: 0.25,
        pixel_accuracy: 0.75,
        pixels: 8000,
        background: 0.0,
        classes: vec![class(0, "Sky & clouds", 1000), class(1, "Road", 0)],
    });
    let html = report.html().unwrap();
    for wanted in [
        "Labels of whole images",
        "Sky &amp; clouds",
        "0.200",
        "0.125",
        "0.750",
    ] {
        assert!(html.contains(wanted), "{wanted} is missing");
    }
}
