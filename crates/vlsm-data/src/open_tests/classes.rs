use super::*;

fn classes(names: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    image(&folder.path().join("train/images/s.png"), &[9; 8]);
    image(
        &folder.path().join("train/masks/s.png"),
        &[0, 0, 2, 2, 11, 11, 1, 0],
    );
    std::fs::write(folder.path().join("classes.json"), names).unwrap();
    folder
}

#[test]
fn each_class_present_is_a_sample() {
    let folder = classes(r#"{"classes": [null, "Road", "Traffic/sign"], "ignore_index": 11}"#);
    let data = Dataset::open(&DataConfig::new(folder.path())).unwrap();
    assert_eq!(
        (data.format, data.ignore),
        (Some(Format::Classes), Some(11))
    );
    assert_eq!(data.classes, ["", "Road", "Traffic/sign"]);
    assert_eq!(names(&data.train), ["s.Road", "s.Traffic_sign"]);
    assert_eq!(
        data.train.iter().map(|s| s.target).collect::<Vec<_>>(),
        [Target::Class(1), Target::Class(2)]
    );
    let prompt = data.train[1]
        .fixed_prompt(&PromptChoice::default_eval(&data.train[1].prompts))
        .unwrap();
    assert_eq!(prompt, "Traffic/sign");
}

/// The second image shows only background. No class gives a sample for it, but whole-image labels include it, because
/// false positives in it count.
#[test]
fn images_without_a_class_have_labels_too() {
    let folder = classes(r#"{"classes": [null, "Road", "Sign"], "ignore_index": 11}"#);
    let train = folder.path().join("train");
    std::fs::copy(train.join("images/s.png"), train.join("images/t.png")).unwrap();
    image(&train.join("masks/t.png"), &[0; 8]);
    let data = Dataset::open(&DataConfig::new(folder.path())).unwrap();
    assert_eq!(names(&data.train), ["s.Road", "s.Sign"]);
    let labelled = data.labelled(Split::Train);
    assert_eq!(names(labelled), ["s", "t"]);
    assert!(labelled.iter().all(|one| one.target == Target::Labels));
    assert!(data.labelled(Split::Test).is_empty());
    let (_, mask) = labelled[0].read(data.ignore).unwrap();
    assert_eq!(mask.foreground(), 6);
    let binary = Dataset::open(&with_text(folder_of(3).path())).unwrap();
    assert!(binary.labelled(Split::Train).is_empty());
    let error = binary.class_list().unwrap_err();
    assert!(
        error.to_string().contains("are binary (format folder)"),
        "{error}"
    );
}

#[test]
fn a_class_without_a_name_is_an_error() {
    let folder = classes(r#"{"classes": ["Sky", "Road"], "ignore_index": 11}"#);
    let message = fault(&DataConfig::new(folder.path()));
    assert!(
        message.contains("s.png` contains class id 2")
            && message.contains("classes.json` names only 2"),
        "{message}"
    );
}

#[test]
fn pooled_data_sets_share_classes_by_name() {
    let folders = [
        classes(r#"{"classes": ["Road", "Sign", "Sky"], "ignore_index": 11}"#),
        classes(r#"{"classes": ["Sky", "Car", null], "ignore_index": 11}"#),
    ];
    let config = DataConfig {
        pool: folders.iter().map(|folder| folder.path().into()).collect(),
        ..DataConfig::default()
    };
    let pool = Dataset::open(&config).unwrap();
    assert_eq!(pool.class_names().unwrap(), ["Road", "Sign", "Sky", "Car"]);
    let of: Vec<_> = pool.train.iter().map(|one| pool.class_of(one)).collect();
    let expected = ["Road", "Sign", "Sky", "Sky", "Car"].map(Some);
    assert_eq!(of, expected);
    assert!(pool.labelled(Split::Train).is_empty());
}
