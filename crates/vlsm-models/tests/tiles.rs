//! Large images in tiles: no seams, and the ordinary answer where one tile covers the image.

// Clippy's leave for tests covers test functions, not their helpers.
#![allow(clippy::unwrap_used)]

use vlsm_image::RgbImage;
use vlsm_models::device;
use vlsm_models::predict::{Engine, Request, Tiles};

const PROMPT: &str = "a red disc";

/// Discs of several sizes on a grey ground with slow changes of light, many of them across the borders of tiles.
fn scene(width: usize, height: usize) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (column, row) = (x / 240, y / 240);
        let radius = 40 + 15 * ((3 * column + 5 * row) % 5);
        let away = |at: usize, cell: usize| (at as i64 - (cell * 240 + 120) as i64).pow(2);
        let light = ((x as f32 / 170.0).sin() * 20.0 + (y as f32 / 230.0).cos() * 20.0) as i32;
        let shade = |level: i32| (level + light).clamp(0, 255) as u8;
        let inside = away(x, column) + away(y, row) < (radius * radius) as i64;
        match (inside, (column + row) % 2) {
            (true, 0) => [shade(200), shade(40), shade(40)],
            (true, _) => [shade(40), shade(60), shade(190)],
            (false, _) => [shade(120); 3],
        }
    })
}

/// The mean change of a probability from column to column, at the borders of tiles and elsewhere.
fn changes(probability: &[f32], width: usize, borders: &[usize]) -> (f64, f64) {
    let (mut at, mut elsewhere) = ((0.0, 0u32), (0.0, 0u32));
    for row in probability.chunks(width) {
        for (x, pair) in row.windows(2).enumerate() {
            let (sum, count) = match borders.contains(&(x + 1)) {
                true => &mut at,
                false => &mut elsewhere,
            };
            *sum += f64::from((pair[1] - pair[0]).abs());
            *count += 1;
        }
    }
    (at.0 / f64::from(at.1), elsewhere.0 / f64::from(elsewhere.1))
}

#[test]
fn no_seams_show_on_a_large_image() {
    let engine = Engine::load("builtin:tiny", &device("cpu").unwrap()).unwrap();
    let (adapter, picture) = (engine.zero_shot(), scene(3000, 2000));
    let answer = |tiles| {
        let side = adapter.image_size();
        let answers = engine.predict_tiled(adapter, &picture, side, tiles, &[PROMPT]);
        answers.unwrap().swap_remove(0)
    };

    // Four tiles across, at 0, 667, 1333 and 2000.
    let blended = answer(Tiles::new(1000, Some(250)).unwrap());
    let (at, elsewhere) = changes(
        &blended.probability,
        3000,
        &[667, 1333, 2000, 1000, 1667, 2333],
    );
    println!("blended: {at:.6} at the borders, {elsewhere:.6} elsewhere");
    assert!(at < 1.2 * elsewhere, "{at} {elsewhere}");
    assert!(blended.mask.foreground() > 0, "nothing to compare");

    // The same measure finds the seams of tiles without overlap.
    let hard = answer(Tiles::new(1000, Some(0)).unwrap());
    let (at, elsewhere) = changes(&hard.probability, 3000, &[1000, 2000]);
    println!("hard: {at:.6} at the borders, {elsewhere:.6} elsewhere");
    assert!(at > 2.0 * elsewhere, "{at} {elsewhere}");
    // The tiles in the corners are those of before, and cached.
    assert_eq!(engine.stats().vision_passes, 4 * 3 + 3 * 2 - 4);
}

#[test]
fn one_tile_gives_the_ordinary_answer() {
    let engine = Engine::load("builtin:tiny", &device("cpu").unwrap()).unwrap();
    let (adapter, picture) = (engine.zero_shot(), scene(300, 200));
    let (side, prompts) = (adapter.image_size(), [PROMPT, "a blue disc"]);
    let image = &engine.encode_one(adapter, &picture, side).unwrap();
    let request = Request {
        image,
        adapter,
        prompts: &prompts,
    };
    let plain = engine.predict_one(&request).unwrap();
    let tiled = |tiles: Tiles| {
        let answers = engine.predict_tiled(adapter, &picture, side, tiles, &prompts);
        answers.unwrap()
    };
    let covering = Tiles::new(300, None).unwrap();
    assert_eq!(covering.count((300, 200)), 1);
    assert_eq!(tiled(covering), plain);
    let several = Tiles::new(150, None).unwrap();
    assert_eq!(several.count((300, 200)), 6);
    let several = tiled(several);
    assert_ne!(several, plain);
    assert_eq!(several.len(), 2);
    assert_eq!(several[1].probability.len(), 300 * 200);
}
