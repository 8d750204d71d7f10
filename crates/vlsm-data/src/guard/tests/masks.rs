use super::*;

#[test]
fn ordinary_masks_have_no_findings() {
    for mask in [square(255, 0), square(1, 0)] {
        let (_folder, config) = set(photo, |_| mask.clone());
        assert_eq!(findings(&config), []);
        assert_eq!(foreground(&config), [150; 10]);
    }
    // Smooth edges.
    let (_folder, config) = set(photo, |_| square(255, 0).blur(0.8));
    assert_eq!(findings(&config), []);
}

#[test]
fn void_is_left_out() {
    // Only some masks show all three levels.
    let mask = |index: usize| match index {
        0 => columns(&[0, 1, 255, 0]),
        1 => columns(&[0, 255]),
        _ => square(1, 0),
    };
    let (_folder, config) = set(photo, mask);
    let found = findings(&config);
    let kinds: Vec<_> = found
        .iter()
        .map(|(severity, kind, _)| (*severity, *kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (Severity::Notice, FindingKind::Levels),
            (Severity::Warning, FindingKind::EmptyMask)
        ],
        "{found:?}"
    );
    assert!(found[0].2.contains("255 is left out") && found[1].2.contains("case1.png"));
    let all = samples(&config);
    let count = |index: usize, value: u8| {
        let mask: Mask = all[index].read(None).unwrap().1;
        mask.data.iter().filter(|&&v| v == value).count()
    };
    assert_eq!([count(0, 1), count(0, Mask::IGNORE)], [300, 300]);
    assert_eq!([count(1, 1), count(1, Mask::IGNORE)], [0, 600]);
    assert_eq!([count(2, 1), count(2, Mask::IGNORE)], [150, 0]);
}

#[test]
fn one_odd_level_is_foreground_in_all_masks() {
    let (_folder, config) = set(photo, |_| square(2, 0));
    only(
        &config,
        Severity::Warning,
        FindingKind::SingleLevel,
        "levels 0 and 2",
    );
    assert_eq!(foreground(&config), [150; 10]);
    let (_folder, config) = set(photo, |_| square(127, 0));
    only(
        &config,
        Severity::Warning,
        FindingKind::SingleLevel,
        "levels 0 and 127",
    );
}

#[test]
fn levels_that_say_nothing_are_an_error_wherever_masks_are_read() {
    let masks: [(&dyn Fn(usize) -> DynamicImage, &str); 6] = [
        (&|_| columns(&[0, 1, 2]), "are 0, 1, 2,"),
        (&|_| columns(&[0, 0, 1, 2, 255]), "classes.json"),
        (&|_| columns(&[0, 128, 255]), "are 0, 128, 255,"),
        // Each file alone could be read, but not in the same way.
        (
            &|index| square(if index < 5 { 1 } else { 255 }, 0),
            "that of",
        ),
        (
            &|index| square(if index < 5 { 1 } else { 2 }, 0),
            "are 0, 1, 2,",
        ),
        (
            &|index| match index {
                0 => square(1, 0),
                _ => square(255, 0).blur(0.8),
            },
            "case0.png`: its foreground has level 1",
        ),
    ];
    for (mask, text) in masks {
        let (_folder, config) = set(photo, mask);
        only(&config, Severity::Error, FindingKind::Levels, text);
        let all = samples(&config);
        let error = all[0].read(None).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        let accepting = DataConfig {
            accept: vec![FindingKind::Levels],
            ..config
        };
        samples(&accepting)[0].read(None).unwrap();
    }
}

#[test]
fn a_shape_in_the_alpha_channel_is_an_error() {
    let alpha = |colour: u8| {
        let alpha = square(255, 0).into_luma8();
        let mask = GrayAlphaImage::from_fn(SIDES.0, SIDES.1, |x, y| {
            image::LumaA([colour, alpha.get_pixel(x, y).0[0]])
        });
        DynamicImage::from(mask)
    };
    for colour in [0, 255] {
        let (_folder, config) = set(photo, |_| alpha(colour));
        let found = findings(&config);
        assert_eq!(found[0].1, FindingKind::Alpha, "{found:?}");
        assert_eq!(found[0].0, Severity::Error);
    }
    let both = |_| {
        let mask = square(255, 0).into_luma8();
        GrayAlphaImage::from_fn(SIDES.0, SIDES.1, |x, y| {
            image::LumaA([mask.get_pixel(x, y).0[0], (x * 3) as u8])
        })
        .into()
    };
    let (_folder, config) = set(photo, both);
    only(
        &config,
        Severity::Warning,
        FindingKind::Alpha,
        "not constant",
    );
}

#[test]
fn pictures_in_place_of_masks_are_an_error() {
    let (_folder, config) = set(photo, photo);
    only(
        &config,
        Severity::Error,
        FindingKind::Picture,
        "10 of 10 masks look like photographs",
    );
    let overlay = |index: usize| {
        let mut picture = photo(index).into_rgb8();
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            if x < 10 && y < 10 {
                pixel.0[1] = 255;
            }
        }
        picture.into()
    };
    let (_folder, config) = set(photo, overlay);
    only(&config, Severity::Error, FindingKind::Picture, "overlays");
    let few = |index: usize| if index == 3 { photo(3) } else { square(255, 0) };
    let (_folder, config) = set(photo, few);
    only(
        &config,
        Severity::Warning,
        FindingKind::Picture,
        "1 of 10 masks",
    );
}

#[test]
fn exchanged_folders_are_an_error() {
    let (_folder, mut config) = set(photo, |_| square(255, 0));
    (config.images, config.masks) = ("masks".into(), "images".into());
    only(
        &config,
        Severity::Error,
        FindingKind::Exchanged,
        "exchange `data.images` and `data.masks`",
    );
}

#[test]
fn inverted_empty_tiny_and_broken_masks_are_noticed() {
    let (_folder, config) = set(photo, |_| square(0, 255));
    only(
        &config,
        Severity::Warning,
        FindingKind::Inverted,
        "10 of 10 masks",
    );
    let (_folder, config) = set(photo, |_| square(0, 0));
    only(
        &config,
        Severity::Error,
        FindingKind::EmptyMask,
        "nothing can be learned",
    );
    let some = |index: usize| square(if index == 4 { 0 } else { 255 }, 0);
    let (_folder, config) = set(photo, some);
    only(
        &config,
        Severity::Warning,
        FindingKind::EmptyMask,
        "case4.png",
    );
    let dots = GrayImage::from_fn(SIDES.0, SIDES.1, |x, y| {
        Luma([if x % 4 < 2 && y % 4 < 2 { 255 } else { 0 }])
    });
    let (_folder, config) = set(photo, |_| dots.clone().into());
    only(
        &config,
        Severity::Warning,
        FindingKind::Parts,
        "more than 10 separate parts",
    );
    let dot = GrayImage::from_fn(200, 200, |x, y| Luma([if x + y < 2 { 255 } else { 0 }]));
    let (_folder, config) = set(
        |index| photo(index).resize_exact(200, 200, image::imageops::Nearest),
        |_| dot.clone().into(),
    );
    only(
        &config,
        Severity::Warning,
        FindingKind::Tiny,
        "less than 0.01 %",
    );
}
