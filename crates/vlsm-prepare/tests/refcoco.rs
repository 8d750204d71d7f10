//! RefCOCO and its kin, from a small tree in the public layout.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};
use vlsm_prepare::{ReferringSet, prepare_queries};

/// What Python 2 writes for two expressions about one object and one about another, with protocol 0.
const REFS: &[u8] = b"(lp0\n(dp1\nS'ann_id'\np2\nI7\nsS'image_id'\np3\nI5\nsS'split'\np4\nS'testA'\np5\nsS'sentences'\np6\n(lp7\n(dp8\nS'sent'\np9\nS'the left cup'\np10\nsS'raw'\np11\nS'The left cup!'\np12\nsa(dp13\nS'sent'\np14\nS'blue cup'\np15\nsasa(dp16\nS'ann_id'\np17\nI8\nsS'image_id'\np18\nI5\nsS'split'\np19\nS'train'\np20\nsS'sentences'\np21\n(lp22\n(dp23\nS'sent'\np24\nVt\\u00e9 cup\np25\nsasa.";

const INSTANCES: &str = r#"{
    "info": {}, "categories": [{"id": 1, "name": "cup"}],
    "images": [{"id": 5, "file_name": "COCO_train2014_000000000005.jpg", "height": 40, "width": 60}],
    "annotations": [
        {"id": 7, "image_id": 5, "category_id": 1, "bbox": [1.5, 2, 10, 20], "segmentation": []},
        {"id": 8, "image_id": 5, "category_id": 1, "bbox": [30, 2, 10, 20], "segmentation": []}
    ]
}"#;

fn refs(set: &ReferringSet) -> &'static str {
    match set.name {
        "refcocog" => "refs(umd).p",
        _ => "refs(unc).p",
    }
}

fn download(root: &Path, set: &ReferringSet) {
    let folder = root.join(set.name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(refs(set)), REFS).unwrap();
    std::fs::write(folder.join("instances.json"), INSTANCES).unwrap();
    std::fs::create_dir_all(root.join("train2014")).unwrap();
    let image = root.join("train2014/COCO_train2014_000000000005.jpg");
    std::fs::write(image, "x").unwrap();
}

#[test]
fn expressions_become_queries_of_their_split() {
    let root = tempfile::tempdir().unwrap();
    for set in ReferringSet::ALL {
        download(root.path(), set);
        let out = root.path().join(format!("out-{}", set.name));
        let counts = prepare_queries(set, root.path(), &out).unwrap();
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("testA".into(), 2), ("train".into(), 1)]
        );
        let text = std::fs::read_to_string(out.join("testA.jsonl")).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["expression"], "the left cup");
        assert_eq!(first["truth_box"], json!([1.5, 2.0, 11.5, 22.0]));
        assert!(Path::new(first["image"].as_str().unwrap()).is_file());
        let train = std::fs::read_to_string(out.join("train.jsonl")).unwrap();
        assert!(train.contains("té cup"), "{train}");
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let set = ReferringSet::ALL[0];
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let error = |out: &Path| {
        let error = prepare_queries(set, root.path(), out).unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    assert!(error(&out).contains("refcoco/refs(unc).p"));
    download(root.path(), set);
    let path = root.path().join("refcoco/instances.json");
    std::fs::write(&path, INSTANCES.replace("\"id\": 8", "\"id\": 9")).unwrap();
    assert!(error(&out).contains("no annotation 8"));
    download(root.path(), set);
    std::fs::write(root.path().join("refcoco/refs(unc).p"), &REFS[..90]).unwrap();
    assert!(error(&out).contains("refs(unc).p"));
    download(root.path(), set);
    std::fs::remove_file(
        root.path()
            .join("train2014/COCO_train2014_000000000005.jpg"),
    )
    .unwrap();
    assert!(error(&out).contains("000000000005.jpg` is missing"));
}
