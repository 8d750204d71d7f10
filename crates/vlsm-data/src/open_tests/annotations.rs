use super::*;

fn annotated(train: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    pairs(folder.path(), &["a", "b"], "");
    std::fs::create_dir(folder.path().join("anns")).unwrap();
    std::fs::write(folder.path().join("anns/train.json"), train).unwrap();
    folder
}

#[test]
fn annotations_are_read_in_file_order() {
    let folder = annotated(
        r#"[{"bbox":[1,2],"img_name":"b.png","mask_name":"b.png","prompts":{"p0":"","p1":["x","y"]}},
            {"img_name":"a.png","mask_name":"a.png","prompts":{"p1":"z"},"cat":0},
            {"img_name":"a.png","mask_name":"a.png","prompts":{"p1":"w"}}]"#,
    );
    let data = Dataset::open(&DataConfig::new(folder.path())).unwrap();
    assert_eq!(data.format, Some(Format::Annotations));
    assert_eq!(names(&data.train), ["b", "a", "a-2"]);
    assert_eq!(data.train[0].prompts.get("p1").unwrap(), ["x", "y"]);
    assert!(data.require(Split::Train).is_ok());
    let message = data.require(Split::Val).unwrap_err().to_string();
    assert!(
        message.contains("val split") && message.contains("anns/val.json"),
        "{message}"
    );
    let message = data.train[1]
        .fixed_prompt(&"p6".parse().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("sample `a` has no prompt `p6` (it has p1)"),
        "{message}"
    );
}

#[test]
fn oracle_attributes_are_read() {
    let folder = annotated(
        r#"[{"img_name":"a.png","mask_name":"a.png","prompts":{"p1":"z"},"oracle":{"p2":["shape"]}},
            {"img_name":"b.png","mask_name":"b.png","prompts":{"p1":"z"}}]"#,
    );
    let data = Dataset::open(&DataConfig::new(folder.path())).unwrap();
    let oracle = data.train[0].oracle.as_ref().unwrap();
    assert_eq!(oracle["p2"], ["shape"]);
    assert_eq!((oracle.len(), &data.train[1].oracle), (1, &None));
}

#[test]
fn faults_of_annotations_name_file_entry_and_field() {
    let cases = [
        (
            r#"[{"img_name":"a.png","prompts":{"p1":"x"}}]"#,
            "entry 0: field `mask_name` is missing",
        ),
        (
            r#"[{"img_name":3,"mask_name":"a.png","prompts":{"p1":"x"}}]"#,
            "field `img_name` is not a string",
        ),
        (
            r#"[{"img_name":"../a.png","mask_name":"a.png"}]"#,
            "points outside its folder",
        ),
        (
            r#"[{"img_name":"a.png","mask_name":"a.png","prompts":{"p1":7}}]"#,
            "field `prompts` cannot be read",
        ),
        (
            r#"[{"img_name":"a.png","mask_name":"a.png","prompts":{"p1":"x"},"oracle":["p6"]}]"#,
            "field `oracle` is not an object with a list",
        ),
        (
            r#"[{"img_name":"a.png","mask_name":"a.png"}]"#,
            "sample `a` has no prompts in",
        ),
        (
            r#"[{"img_name":"z.png","mask_name":"a.png","prompts":{"p1":"x"}}]"#,
            "z.png` does not exist",
        ),
        (
            "[{\n\"img_name\": \"a.png\",,}]",
            "line 2, column 21: key must be a string",
        ),
        (
            "{\"a\": 1}",
            "line 1, column 1: invalid type: map, expected a sequence",
        ),
    ];
    for (json, expected) in cases {
        let folder = annotated(json);
        let message = fault(&DataConfig::new(folder.path()));
        assert!(
            message.contains(expected) && message.contains("train.json"),
            "{message}"
        );
    }
    let folder = annotated("");
    std::fs::write(
        folder.path().join("anns/train.json"),
        b"[\n {\"img_name\": \"\xe9.png\"}]",
    )
    .unwrap();
    let message = fault(&DataConfig::new(folder.path()));
    assert!(
        message.contains("line 2, column 16: byte 0xe9 is not UTF-8"),
        "{message}"
    );
}

#[test]
fn with_one_text_for_all_samples_need_no_prompts() {
    let folder = annotated(r#"[{"img_name":"a.png","mask_name":"a.png"}]"#);
    let config = with_text(folder.path());
    let data = Dataset::open(&config).unwrap();
    let sample = &data.train[0];
    assert_eq!(
        sample
            .fixed_prompt(&config.eval_choice(&sample.prompts))
            .unwrap(),
        "lesion"
    );
}
