use super::*;

/// The bytes of a PNG with an EXIF orientation.
fn turned(image: &DynamicImage, orientation: u8) -> Vec<u8> {
    use image::ImageEncoder;
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    let (width, height) = (image.width(), image.height());
    encoder
        .write_image(image.as_bytes(), width, height, image.color().into())
        .unwrap();
    bytes
}

#[test]
fn turned_images_are_applied_and_reported() {
    let write = |folder: &TempDir, orientation: u8| {
        let path = folder.path().join("images/case7.png");
        fs::write(path, turned(&photo(7), orientation)).unwrap();
    };
    // Turned by 180 degrees: whether the mask is turned too cannot be seen.
    let (folder, config) = set(photo, |_| square(255, 0));
    write(&folder, 3);
    only(
        &config,
        Severity::Warning,
        FindingKind::Orientation,
        "case7.png",
    );
    // Turned by 90 degrees, with a mask as it is stored.
    write(&folder, 6);
    let found = findings(&config);
    assert!(
        found.iter().any(|(severity, kind, message)| {
            (*severity, *kind) == (Severity::Error, FindingKind::SizeMismatch)
                && message.contains("EXIF")
        }),
        "{found:?}"
    );
    let error = samples(&config)
        .into_iter()
        .find(|sample| sample.name == "case7");
    let (image, mask) = error.unwrap().read(None).unwrap();
    assert_ne!((image.width, image.height), (mask.width, mask.height));
    // With a mask as viewers show the image.
    square(255, 0)
        .rotate90()
        .save(folder.path().join("masks/case7.png"))
        .unwrap();
    only(
        &config,
        Severity::Notice,
        FindingKind::Orientation,
        "the masks fit",
    );
    // With the orientation in the mask too.
    let mask = turned(&square(255, 0), 6);
    fs::write(folder.path().join("masks/case7.png"), mask).unwrap();
    only(
        &config,
        Severity::Notice,
        FindingKind::Orientation,
        "the masks fit",
    );
}

#[test]
fn turned_images_with_masks_of_class_ids_are_reported() {
    let (folder, config) = set(photo, |_| square(1, 0));
    let names = r#"{"classes": [null, "lesion"]}"#;
    fs::write(folder.path().join("classes.json"), names).unwrap();
    let config = DataConfig::new(config.root);
    let path = folder.path().join("images/case7.png");
    fs::write(path, turned(&photo(7), 6)).unwrap();
    let found = findings(&config);
    let is_size =
        |finding: &(Severity, FindingKind, String)| finding.1 == FindingKind::SizeMismatch;
    assert!(found.iter().any(is_size), "{found:?}");
    square(1, 0)
        .rotate90()
        .save(folder.path().join("masks/case7.png"))
        .unwrap();
    only(
        &config,
        Severity::Notice,
        FindingKind::Orientation,
        "the masks fit",
    );
}

#[test]
fn dark_16_bit_images_get_a_window_of_the_training_images() {
    let twelve_bits = |max: u32| {
        move |index: usize| -> DynamicImage {
            let level = |x: u32, y: u32| ((x * y + index as u32) * max / 1200) as u16;
            ImageBuffer::from_fn(SIDES.0, SIDES.1, |x, y| Luma([level(x, y)])).into()
        }
    };
    let (_folder, config) = set(twelve_bits(4000), |_| square(255, 0));
    only(
        &config,
        Severity::Notice,
        FindingKind::Window,
        "data.window",
    );
    let report = guard(&Dataset::open(&config).unwrap());
    let [low, high] = report.window.unwrap();
    assert!(low < 20 && (3000..4000).contains(&high), "{low} {high}");
    let brightest = |config: &DataConfig| {
        let all = samples(config);
        let images = all.iter().map(|sample| sample.read(None).unwrap().0);
        images
            .map(|image| image.data.into_iter().max().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(brightest(&config), [255; 10]);
    let digests = |config: &DataConfig| samples(config)[0].source.image_digest().unwrap();
    let known = DataConfig {
        window: Some([0, 8000]),
        ..config.clone()
    };
    assert!(
        brightest(&known)
            .iter()
            .all(|&level| (120..128).contains(&level))
    );
    assert_ne!(digests(&config), digests(&known));
    assert_eq!(findings(&known), []);
    // The full range is scaled as before.
    let (_folder, config) = set(twelve_bits(65535), |_| square(255, 0));
    assert_eq!(findings(&config), []);
    let report = guard(&Dataset::open(&config).unwrap());
    assert_eq!(report.window, Some(vlsm_image::FULL_WINDOW));
    let image = samples(&config)[0].source.image().unwrap();
    let sample = &samples(&config)[0];
    let plain = vlsm_image::read_image(sample.source.files().unwrap().0).unwrap();
    assert_eq!(image, plain);
}

#[test]
fn several_pages_are_an_error_unless_accepted() {
    let (folder, config) = set(photo, |_| square(255, 0));
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).unwrap();
    let picture = photo(0).into_rgb8();
    for _ in 0..2 {
        encoder
            .write_image::<tiff::encoder::colortype::RGB8>(SIDES.0, SIDES.1, &picture)
            .unwrap();
    }
    fs::remove_file(folder.path().join("images/case0.png")).unwrap();
    fs::write(folder.path().join("images/case0.tif"), bytes.into_inner()).unwrap();
    let found = findings(&config);
    assert_eq!(
        (found.len(), found[0].1),
        (1, FindingKind::MultiPage),
        "{found:?}"
    );
    let accepting = DataConfig {
        accept: vec![FindingKind::MultiPage],
        ..config
    };
    assert_eq!(findings(&accepting), []);
    samples(&accepting)[0].read(None).unwrap();
}

#[test]
fn shared_images_subjects_and_unlisted_files_are_named() {
    let (folder, mut config) = set(photo, |_| square(255, 0));
    config.split = SplitConfig {
        val_list: Some("val.txt".into()),
        ..SplitConfig::default()
    };
    config.group = Some("case[0-4]|case".into());
    fs::write(folder.path().join("val.txt"), "case5\n").unwrap();
    only(
        &config,
        Severity::Warning,
        FindingKind::SharedSubject,
        "`case`",
    );

    let anns = folder.path().join("anns");
    fs::create_dir(&anns).unwrap();
    let entry = |index: usize| {
        format!(
            r#"{{"img_name":"case{index}.png","mask_name":"case{index}.png","prompts":{{"p1":"x"}}}}"#
        )
    };
    let write = |split: &str, indices: &[usize]| {
        let entries: Vec<String> = indices.iter().map(|&index| entry(index)).collect();
        fs::write(
            anns.join(format!("{split}.json")),
            format!("[{}]", entries.join(",")),
        )
        .unwrap();
    };
    write("train", &[0, 1, 2, 3, 4]);
    write("test", &[5, 6]);
    let config = DataConfig::new(folder.path());
    only(
        &config,
        Severity::Warning,
        FindingKind::Unlisted,
        "3 images are in no annotation file",
    );
    write("test", &[5, 6, 7, 8, 9, 0]);
    let found = findings(&config);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].0, found[0].1),
        (Severity::Error, FindingKind::SharedImage)
    );
    assert!(found[0].2.contains("train and test") && found[0].2.contains("case0.png"));
}
