use vlsm_image::{Mask, RgbImage, write_png_mask, write_png_rgb};

use super::*;
use crate::check;
use crate::config::Format;
use crate::dataset::Dataset;

/// Writes an image and a mask: a red square of four pixels on grey, or only grey if `empty`.
fn pair(root: &Path, folder: &str, stem: &str, empty: bool) {
    let inside = |at: usize| !empty && (at % 8) / 2 == 1 && (at / 8) / 2 == 1;
    let image = (0..64).flat_map(|at| if inside(at) { [220, 10, 10] } else { [99; 3] });
    let image = RgbImage::new(8, 8, image.collect()).unwrap();
    let mask = Mask::new(8, 8, (0..64).map(|at| u8::from(inside(at))).collect()).unwrap();
    let base = root.join(folder);
    for kind in ["images", "masks"] {
        std::fs::create_dir_all(base.join(kind)).unwrap();
    }
    write_png_rgb(&base.join(format!("images/{stem}.png")), &image).unwrap();
    write_png_mask(&base.join(format!("masks/{stem}_mask.png")), &mask).unwrap();
}

fn as_folder(root: &Path) -> DataConfig {
    DataConfig {
        format: Format::Folder,
        prompt: crate::PromptChoice::Text("dot".to_string()),
        ..DataConfig::new(root)
    }
}

/// Annotates all samples of a folder and reads the data set back in the published format.
fn round_trip(root: &Path) -> Dataset {
    let config = as_folder(root);
    let dataset = Dataset::open(&config).unwrap();
    std::fs::create_dir_all(root.join("anns")).unwrap();
    for split in Split::ALL {
        let samples = dataset.split(split).iter();
        let all: Vec<_> = samples
            .map(|sample| annotate(&config, split, sample, "dot").unwrap().0)
            .collect();
        write_annotations(&root.join(format!("anns/{split}.json")), &all).unwrap();
    }
    let again = Dataset::open(&DataConfig::new(root)).unwrap();
    assert_eq!(again.format, Some(Format::Annotations));
    let files = |dataset: &Dataset, split| {
        let samples = dataset.split(split).iter();
        samples
            .map(|s| (s.source.id().into_owned(), s.source.mask_id().into_owned()))
            .collect::<Vec<_>>()
    };
    for split in Split::ALL {
        assert_eq!(files(&again, split), files(&dataset, split));
    }
    again
}

#[test]
fn a_folder_is_read_back_as_annotations() {
    let root = tempfile::tempdir().unwrap();
    for (stem, empty) in [("a", false), ("b b", true), ("c", false), ("ü", false)] {
        pair(root.path(), "", stem, empty);
    }
    let dataset = round_trip(root.path());
    let all = || Split::ALL.into_iter().flat_map(|s| dataset.split(s));
    let p6 = |name: &str| {
        let sample = all().find(|sample| sample.name == name).unwrap();
        sample.prompts.get("p6").unwrap()[0].clone()
    };
    assert_eq!(
        p6("a_mask"),
        "one small red dot, located in center of the image"
    );
    assert_eq!(p6("b b_mask"), "dot");
    assert!(all().all(|sample| sample.prompts.len() == 7));
}

#[test]
fn folders_of_splits_are_read_back_as_annotations() {
    let root = tempfile::tempdir().unwrap();
    for (folder, stem) in [("train", "a"), ("train", "b"), ("val", "a"), ("test", "c")] {
        pair(root.path(), folder, stem, false);
    }
    let dataset = round_trip(root.path());
    assert_eq!(
        (dataset.train.len(), dataset.val.len(), dataset.test.len()),
        (2, 1, 1)
    );
    assert!(
        dataset.val[0]
            .source
            .files()
            .unwrap()
            .0
            .starts_with(root.path().join("val"))
    );
    // If the root has an image folder, annotations refer to that one.
    pair(root.path(), "", "z", false);
    let config = as_folder(root.path());
    let opened = Dataset::open(&config).unwrap();
    let error = annotate(&config, Split::Train, &opened.train[0], "dot").unwrap_err();
    assert!(error.to_string().contains("a.png"), "{error}");
}

#[test]
fn the_file_has_the_published_fields_and_the_oracle_attributes() {
    let root = tempfile::tempdir().unwrap();
    pair(root.path(), "", "a", false);
    let sample = &Dataset::open(&as_folder(root.path())).unwrap().train[0];
    let (annotation, _) = annotate(&as_folder(root.path()), Split::Train, sample, "dot").unwrap();
    let path = root.path().join("train.json");
    write_annotations(&path, std::slice::from_ref(&annotation)).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        r#"[
{"img_name":"a.png","mask_name":"a_mask.png","prompts":{"p0":"","p1":"dot","p2":"dot","p3":"red dot",""#
            .to_string()
            + r#"p4":"small red dot","p5":"one small red dot","p6":"one small red dot, located in center of the image"},"#
            + r#""bbox":[2,2,4,4],"oracle":{"p3":["colour"],"p4":["size","colour"],"p5":["number","size","colour"],"#
            + r#""p6":["number","size","colour","place"]}}
]
"#
    );
    write_annotations(&path, &[]).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[\n]\n");
}

#[test]
fn a_pair_whose_sizes_differ_is_refused() {
    let root = tempfile::tempdir().unwrap();
    pair(root.path(), "", "a", false);
    let mask = Mask::new(4, 2, vec![1; 8]).unwrap();
    write_png_mask(&root.path().join("masks/a_mask.png"), &mask).unwrap();
    let config = as_folder(root.path());
    let sample = &Dataset::open(&config).unwrap().train[0];
    let error = annotate(&config, Split::Train, sample, "dot").unwrap_err();
    assert!(matches!(error, DataError::SizeMismatch { .. }), "{error}");
    assert!(!check(&config).is_usable());
}
