use super::*;

/// A colour and the pixels that have it.
type Thing<'a> = ([u8; 3], &'a dyn Fn(usize, usize) -> bool);

/// A grey image with things drawn on it, and the mask of the things.
fn drawn((width, height): (usize, usize), things: &[Thing<'_>]) -> (RgbImage, Mask) {
    let (mut image, mut mask) = (Vec::new(), Vec::new());
    for at in 0..width * height {
        let thing = things
            .iter()
            .find(|(_, inside)| inside(at % width, at / width));
        mask.push(u8::from(thing.is_some()));
        image.extend(thing.map_or([100; 3], |&(rgb, _)| rgb));
    }
    (
        RgbImage::new(width, height, image).unwrap(),
        Mask::new(width, height, mask).unwrap(),
    )
}

/// A disc around a pixel.
fn disc(x0: usize, y0: usize, radius: usize) -> impl Fn(usize, usize) -> bool {
    move |x, y| x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) <= radius * radius
}

fn text(prompts: &Prompts, name: &str) -> String {
    prompts.get(name).unwrap().join("|")
}

#[test]
fn a_disc_gives_all_prompts_and_their_oracle_attributes() {
    let (image, mask) = drawn((90, 60), &[([230, 210, 40], &disc(75, 30, 10))]);
    let found = describe("polyp", &image, &mask);
    assert_eq!(found.count, 1);
    assert_eq!(found.bbox, Some([65, 20, 86, 41]));
    let prompts = found.prompts();
    let texts: Vec<String> = prompts.names().map(|name| text(&prompts, name)).collect();
    assert_eq!(
        texts,
        [
            "",
            "polyp",
            "round polyp",
            "yellow round polyp",
            "small yellow round polyp",
            "one small yellow round polyp",
            "one small yellow round polyp, located in right of the image",
        ]
    );
    let oracle = serde_json::to_string(&found.oracle()).unwrap();
    assert_eq!(
        oracle,
        r#"{"p2":["shape"],"p3":["colour","shape"],"p4":["size","colour","shape"],"#.to_string()
            + r#""p5":["number","size","colour","shape"],"#
            + r#""p6":["number","size","colour","shape","place"]}"#
    );
}

#[test]
fn sizes_and_positions_of_two_objects_are_listed() {
    // 8 % of 100 x 100 pixels is a radius of 16.
    let (image, mask) = drawn(
        (100, 100),
        &[
            ([20, 40, 200], &disc(80, 15, 10)),
            ([20, 40, 200], &disc(25, 70, 20)),
        ],
    );
    let found = describe("cell", &image, &mask);
    assert_eq!(found.sizes, ["small", "medium"]);
    assert_eq!(
        text(&found.prompts(), "p6"),
        "two small, medium blue round cell, located in top right, bottom left of the image"
    );
    assert_eq!(found.bbox, Some([5, 5, 91, 91]));
}

#[test]
fn a_cell_is_listed_once_and_is_that_of_the_box_centre() {
    let (image, mask) = drawn(
        (120, 60),
        &[
            ([0; 3], &disc(50, 25, 4)),
            ([0; 3], &disc(70, 35, 4)),
            ([0; 3], &disc(60, 55, 4)),
        ],
    );
    let found = describe("x", &image, &mask);
    assert_eq!((found.count, found.places), (3, vec!["center", "bottom"]));
    // All nine cells, with a disc in the middle of each.
    for (at, cell) in PLACES.iter().enumerate() {
        let (x, y) = (20 + 40 * (at % 3), 10 + 20 * (at / 3));
        let (image, mask) = drawn((120, 60), &[([0; 3], &disc(x, y, 3))]);
        assert_eq!(describe("x", &image, &mask).places, [*cell]);
    }
}

#[test]
fn size_depends_on_the_share_of_the_image() {
    let size = |pixels: usize| {
        let (image, mask) = drawn((100, 100), &[([0; 3], &|x, y| x + 100 * y < pixels)]);
        describe("x", &image, &mask).sizes
    };
    assert_eq!(size(1), ["small"]);
    assert_eq!(size(800), ["small"]);
    assert_eq!(size(801), ["medium"]);
    assert_eq!(size(3000), ["medium"]);
    assert_eq!(size(3001), ["large"]);
    assert_eq!(size(10_000), ["large"]);
}

#[test]
fn specks_are_not_counted_but_small_objects_are() {
    // One pixel of 200 x 200 is less than a ten-thousandth; two by two are not.
    let big = disc(100, 100, 40);
    let (image, mask) = drawn(
        (200, 200),
        &[
            ([0; 3], &big),
            ([0; 3], &|x, y| (x, y) == (0, 0)),
            ([0; 3], &|x, y| x / 2 == 90 && y / 2 == 90),
        ],
    );
    let found = describe("x", &image, &mask);
    assert_eq!((found.count, found.bbox), (2, Some([60, 60, 182, 182])));
    // If there are only specks, they are the objects.
    let (image, mask) = drawn((200, 200), &[([0; 3], &|x, y| (x, y) == (199, 0))]);
    let found = describe("x", &image, &mask);
    assert_eq!((found.count, found.shape), (1, None));
    assert_eq!(
        text(&found.prompts(), "p6"),
        "one small black x, located in top right of the image"
    );
    assert_eq!(found.oracle()["p3"], ["colour"]);
    assert!(!found.oracle().contains_key("p2"));
}

#[test]
fn prompts_of_an_empty_mask_are_the_class_alone() {
    let (image, mask) = drawn((20, 20), &[]);
    let found = describe("polyp", &image, &mask);
    assert_eq!((found.count, found.bbox), (0, None));
    let prompts = found.prompts();
    assert_eq!(text(&prompts, "p0"), "");
    for name in ["p1", "p2", "p3", "p4", "p5", "p6"] {
        assert_eq!(text(&prompts, name), "polyp");
    }
    assert!(found.oracle().is_empty());
    let none = (
        RgbImage::new(0, 0, vec![]).unwrap(),
        Mask::new(0, 0, vec![]).unwrap(),
    );
    assert_eq!(describe("polyp", &none.0, &none.1).count, 0);
}

#[test]
fn an_object_may_touch_the_border() {
    let (image, mask) = drawn((60, 60), &[([250; 3], &disc(0, 59, 30))]);
    let found = describe("x", &image, &mask);
    assert_eq!(found.bbox, Some([0, 29, 31, 60]));
    assert_eq!(found.places, ["bottom left"]);
    let (image, mask) = drawn((60, 40), &[([250; 3], &|_, _| true)]);
    let found = describe("x", &image, &mask);
    assert_eq!(
        text(&found.prompts(), "p6"),
        "one large white rectangular x, located in center of the image"
    );
}

#[test]
fn numbers_above_twelve_are_digits() {
    let (image, mask) = drawn((39, 1), &[([0; 3], &|x, _| x % 3 == 0)]);
    let found = describe("dot", &image, &mask);
    assert_eq!(found.count, 13);
    assert!(text(&found.prompts(), "p5").starts_with("13 small"));
    assert_eq!(number(12).as_deref(), Some("twelve"));
}
