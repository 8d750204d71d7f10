//! Prompts made from the masks of a plain folder.

use super::*;
use crate::annotate::annotate;
use crate::split::Split;

fn with_class(root: &Path) -> DataConfig {
    DataConfig {
        class: Some("lesion".into()),
        ..DataConfig::new(root)
    }
}

#[test]
fn a_class_gives_the_prompts_of_the_annotations_and_writes_nothing() {
    let folder = folder_of(20);
    // One mask is empty; the folder has prompts of its own, which do not count.
    image(&folder.path().join("masks/case003.png"), &[0; 8]);
    std::fs::write(
        folder.path().join("prompts.json"),
        "{\"case001\": \"other\"}",
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("anns")).unwrap();
    let config = with_class(folder.path());
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = files();
    let dataset = Dataset::open(&config).unwrap();
    assert_eq!((dataset.format, files()), (Some(Format::Folder), before));
    for split in Split::ALL {
        for sample in dataset.split(split) {
            let (annotation, _) = annotate(&config, split, sample, "lesion").unwrap();
            assert_eq!(sample.prompts, annotation.prompts);
            assert_eq!(sample.prompts.get("p1").unwrap(), ["lesion"]);
            let oracle = sample.oracle.as_ref().unwrap();
            assert_eq!(oracle.contains_key("p6"), sample.name != "case003");
        }
    }
    assert!(
        crate::check(&config)
            .findings
            .iter()
            .all(|finding| finding.kind != crate::FindingKind::Prompt)
    );
}

#[test]
fn a_class_replaces_the_prompts_of_annotations_and_keeps_their_splits() {
    let folder = folder_of(4);
    let entry = |stem: &str| {
        format!(
            "{{\"img_name\": \"{stem}.png\", \"mask_name\": \"{stem}.png\", \"prompts\": {{\"p1\": \"old\"}}}}"
        )
    };
    std::fs::create_dir(folder.path().join("anns")).unwrap();
    std::fs::write(
        folder.path().join("anns/train.json"),
        format!("[{}]", entry("case002")),
    )
    .unwrap();
    let mut config = with_class(folder.path());
    config.format = Format::Annotations;
    let dataset = Dataset::open(&config).unwrap();
    assert_eq!(names(&dataset.train), ["case002"]);
    assert_eq!(dataset.train[0].prompts.get("p1").unwrap(), ["lesion"]);
}

#[test]
fn a_class_for_masks_that_have_names_is_refused() {
    let folder = folder_of(4);
    std::fs::write(
        folder.path().join("classes.json"),
        r#"{"classes": ["sky"]}"#,
    )
    .unwrap();
    let error = fault(&with_class(folder.path()));
    assert!(
        error.contains("data.class") && error.contains("class ids"),
        "{error}"
    );
    let mut config = with_class(folder.path());
    config.class = Some(" ".into());
    assert!(fault(&config).contains("is empty"));
    config.class = Some("lesion".into());
    config.prompts = Some("prompts.json".into());
    assert!(fault(&config).contains("data.prompts"));
}
