//! `vlsm data` on damaged and misleading files, and the guards of `vlsm train`.

use std::time::{Duration, Instant};

use vlsm::image::{RgbImage, write_png_gray, write_png_rgb};

use crate::support::{SIZE, Workshop, train_args};

/// A folder of ten images of discs, and masks whose levels are `[background, foreground]`.
fn folder(levels: [u8; 2]) -> Workshop {
    let shop = Workshop::new();
    let (width, height) = SIZE;
    for index in 0..10 {
        let is_in = |at: usize| (10..20).contains(&(at % width)) && (8..20).contains(&(at / width));
        let mask: Vec<u8> = (0..width * height)
            .map(|at| levels[usize::from(is_in(at))])
            .collect();
        let image = RgbImage::from_fn(width, height, |x, y| {
            [(x * 5) as u8, (y * 7) as u8, 20 * index as u8]
        });
        for name in ["images", "masks"] {
            std::fs::create_dir_all(shop.path(&format!("scans/{name}"))).unwrap();
        }
        let path = |name: &str| shop.path(&format!("scans/{name}/case{index}.png"));
        write_png_rgb(&path("images"), &image).unwrap();
        write_png_gray(&path("masks"), width, height, &mask).unwrap();
    }
    shop
}

/// The arguments of a short training on `scans`.
fn on_scans(run: &str) -> Vec<&str> {
    let set = ["data.root=scans", "data.prompt=a disc", "trainer.epochs=1"];
    train_args(run, &set)
}

#[test]
fn masks_that_would_train_wrong_are_errors_or_warnings() {
    // The ids 1 and 2: nothing would be foreground.
    let shop = folder([1, 2]);
    let error = shop.fails(&on_scans("run"));
    assert!(
        error.contains("classes.json") && error.contains("[levels]"),
        "{error}"
    );
    assert!(error.contains("--accept"), "{error}");
    assert!(!shop.path("run").exists(), "a failed start leaves nothing");
    let error = shop.fails(&["data", "prompts", "scans", "--class", "disc"]);
    assert!(error.contains("classes.json"), "{error}");

    let shop = folder([255, 0]);
    let warnings = shop.says(&on_scans("run"));
    assert!(warnings.contains("[inverted]"), "{warnings}");
    let eval = [
        "eval", "--base", "base", "--data", "scans", "--prompt", "a disc",
    ];
    let warnings = shop.says(&eval);
    assert!(warnings.contains("[inverted]"), "{warnings}");
    let accepted = [&on_scans("accepted")[..], &["--accept", "inverted"]].concat();
    let warnings = shop.says(&accepted);
    assert!(!warnings.contains("[inverted]"), "{warnings}");
    let recipe = String::from_utf8(shop.read("accepted/recipe.toml")).unwrap();
    assert!(recipe.contains("accept = [\"inverted\"]"), "{recipe}");
    let unknown = ["data", "check", "scans", "--accept", "anything"];
    let output = shop.command(&unknown).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("inverted"), "{error}");

    let shop = folder([0, 0]);
    let error = shop.fails(&on_scans("run"));
    assert!(error.contains("nothing can be learned"), "{error}");
}

#[test]
fn the_window_of_16_bit_images_is_recorded_and_used_again() {
    let shop = folder([0, 255]);
    let (width, height) = SIZE;
    for index in 0..10usize {
        let levels = (0..width * height).map(|at| (at * 2 + index) as u16);
        let path = shop.path(&format!("scans/images/case{index}.png"));
        write_png_16(&path, &levels.collect::<Vec<_>>());
    }
    shop.ok(&on_scans("run"));
    let recipe = String::from_utf8(shop.read("run/recipe.toml")).unwrap();
    let window = recipe.split("window = [").nth(1).unwrap();
    let window: Vec<u16> = window
        .split(']')
        .next()
        .unwrap()
        .split(',')
        .filter_map(|level| level.trim().parse().ok())
        .collect();
    assert!(
        window[0] < 60 && (3000..3200).contains(&window[1]),
        "{window:?}"
    );
    // The same recipe continues the run, and evaluates with the same window.
    let more = [
        &on_scans("run")[..],
        &["--set", "trainer.epochs=2", "--resume"],
    ]
    .concat();
    shop.ok(&more);
    let dice = |set: &[&str]| {
        let arguments = [&["eval", "run", "--json"], set].concat();
        let printed: serde_json::Value = serde_json::from_str(&shop.ok(&arguments)).unwrap();
        printed.to_string()
    };
    let adapter = vlsm::models::AdapterFile::read(&shop.path("run/adapter.safetensors")).unwrap();
    assert_eq!(adapter.window, Some([window[0], window[1]]));
    // A single picture: with the adapter's window, and for the base alone with its own.
    let predict = |more: &[&str]| {
        let image = "scans/images/case3.png";
        let arguments = [
            "predict", "--base", "base", "--prompt", "a disc", image, "-o",
        ];
        shop.says(&[&arguments[..], more].concat())
    };
    assert!(!predict(&["out", "--adapter", "run"]).contains("16-bit"));
    assert!(predict(&["zero"]).contains("small part of the 16-bit range"));
    let picture = vlsm::image::read_image_with(
        &shop.path("scans/images/case3.png"),
        vlsm::image::ImageOptions {
            window: adapter.window,
            ..Default::default()
        },
    );
    // The overlay shows the picture as the model saw it.
    let overlay = shop
        .names("out")
        .into_iter()
        .find(|name| name.contains("overlay"))
        .unwrap();
    let overlay = vlsm::image::read_image(&shop.path(&format!("out/{overlay}"))).unwrap();
    let brightest = |image: &RgbImage| image.data.iter().copied().max().unwrap();
    assert_eq!(brightest(&overlay), brightest(&picture.unwrap()));
    let recorded = format!("data.window=[{}, {}]", window[0], window[1]);
    assert_eq!(dice(&[]), dice(&["--set", &recorded]));
}

/// Writes a grey PNG of 16 bits.
fn write_png_16(path: &std::path::Path, levels: &[u16]) {
    let (width, height) = SIZE;
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let bytes: Vec<u8> = levels
        .iter()
        .flat_map(|level| level.to_be_bytes())
        .collect();
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&bytes)
        .unwrap();
}

#[test]
fn a_killed_generate_can_be_run_again() {
    let shop = Workshop::new();
    let arguments = [
        "data",
        "generate",
        "street",
        "-o",
        "drawn/set",
        "--train",
        "3000",
    ];
    let mut child = shop.command(&arguments).spawn().unwrap();
    let start = Instant::now();
    let is_writing = || {
        let Ok(mut entries) = std::fs::read_dir(shop.path("drawn")) else {
            return false;
        };
        entries.any(|entry| entry.unwrap().path().join("images").exists())
    };
    while !is_writing() {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(shop.names("drawn").len(), 1, "a part is left");
    let few = [
        "data",
        "generate",
        "street",
        "-o",
        "drawn/set",
        "--train",
        "2",
        "--val",
        "1",
        "--test",
        "1",
    ];
    shop.ok(&few);
    assert_eq!(shop.names("drawn"), ["set"]);
    assert_eq!(shop.names("drawn/set/images").len(), 4);
    let error = shop.fails(&few);
    assert!(error.contains("not empty"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn odd_file_names_are_printed_safely() {
    use std::os::unix::ffi::OsStrExt;
    let shop = folder([0, 255]);
    for name in [&b"bad\xff.png"[..], b"two\nlines\x1b[31m.png"] {
        let name = std::ffi::OsStr::from_bytes(name);
        std::fs::write(shop.path("scans/images").join(name), "no image").unwrap();
    }
    let check = |more: &[&str]| {
        let arguments = [&["data", "check", "scans"], more].concat();
        let output = shop.command(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"])).unwrap();
    let paths = json["findings"].as_array().unwrap().iter();
    let paths: Vec<&str> = paths
        .filter_map(|finding| finding["path"].as_str())
        .collect();
    assert!(
        paths.iter().any(|path| path.ends_with("bad\u{fffd}.png")),
        "{paths:?}"
    );
    let text = check(&[]);
    assert!(
        !text.contains('\u{1b}') && text.contains("two\\nlines"),
        "{text}"
    );
}

#[test]
fn a_panic_inside_a_decoder_is_one_line() {
    let shop = folder([0, 255]);
    // A palette of one colour and a half, which makes the decoder panic.
    let path = shop.path("scans/images/case0.png");
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette(vec![1, 2, 3, 4, 5]);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&[0, 1, 2, 3])
        .unwrap();
    std::fs::write(path, bytes).unwrap();
    let output = shop.command(&["data", "check", "scans"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn predict_shows_images_as_viewers_do_and_refuses_several_pages() {
    let shop = Workshop::new();
    let mut info = png::Info::with_size(40, 24);
    info.color_type = png::ColorType::Grayscale;
    // EXIF orientation 6: turned by 90 degrees.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    info.exif_metadata = Some(exif.to_vec().into());
    let file = std::fs::File::create(shop.path("turned.png")).unwrap();
    let encoder = png::Encoder::with_info(file, info).unwrap();
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&[99; 40 * 24])
        .unwrap();
    let predict = [
        "predict", "--base", "base", "--prompt", "a disc", "-o", "out",
    ];
    shop.ok(&[&predict[..], &["turned.png"]].concat());
    for name in shop
        .names("out")
        .iter()
        .filter(|name| name.ends_with(".png"))
    {
        let size = vlsm::image::read_size(&shop.path(&format!("out/{name}"))).unwrap();
        assert_eq!(size, (24, 40), "{name}");
    }
    let file = std::fs::File::create(shop.path("pages.png")).unwrap();
    let mut encoder = png::Encoder::new(file, 8, 8);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1; 64]).unwrap();
    writer.write_image_data(&[2; 64]).unwrap();
    writer.finish().unwrap();
    let pages = [&predict[..], &["pages.png"]].concat();
    let error = shop.fails(&pages);
    assert!(
        error.contains("pages.png") && error.contains("several pages"),
        "{error}"
    );
    shop.ok(&[&pages[..], &["--accept", "multi-page"]].concat());
    let error = shop.fails(&[&predict[..], &["/dev/zero"]].concat());
    assert!(error.contains("not a file"), "{error}");
}

#[test]
fn prompts_remove_what_a_killed_run_left() {
    let shop = folder([0, 255]);
    std::fs::create_dir(shop.path("scans/.vlsm-killed.part")).unwrap();
    let arguments = ["data", "prompts", "scans", "--class", "disc"];
    shop.ok(&arguments);
    assert_eq!(shop.names("scans"), ["anns", "images", "masks"]);
    shop.write("scans/anns/.vlsm-killed.part", "x");
    shop.ok(&[&arguments[..], &["--force"]].concat());
    assert_eq!(
        shop.names("scans/anns"),
        ["test.json", "train.json", "val.json"]
    );
}
