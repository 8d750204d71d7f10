use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::phantom::Phantom;
use super::{endoscopy, ultrasound};
use crate::encode::write_png_rgb;
use crate::picture::RgbImage;

type Draw = fn(&mut ChaCha8Rng, usize) -> Phantom;

const DOMAINS: [(&str, Draw); 2] = [
    ("endoscopy", endoscopy::draw),
    ("ultrasound", ultrasound::draw),
];

fn drawn(draw: Draw, seed: u64, side: usize) -> Phantom {
    draw(&mut ChaCha8Rng::seed_from_u64(seed), side)
}

/// Writes contact sheets for looking at into the folder `VLSM_SHEETS` and prints the time per picture.
#[test]
#[ignore = "for looking at"]
fn contact_sheets() {
    let Ok(folder) = std::env::var("VLSM_SHEETS") else {
        return;
    };
    let number = |name: &str, default: usize| {
        std::env::var(name)
            .ok()
            .and_then(|v| v.parse().ok())
            .unwrap_or(default)
    };
    let (side, first) = (number("SIDE", 160), number("FIRST", 0) as u64);
    let (columns, rows) = (number("COLUMNS", 6), number("ROWS", 4));
    for (name, draw) in DOMAINS {
        let start = Instant::now();
        for seed in 0..50 {
            drawn(draw, seed, side);
        }
        println!("{name}: {:.2} ms", start.elapsed().as_secs_f64() * 20.0);
        let mut sheet = RgbImage {
            width: columns * 2 * side,
            height: rows * side,
            data: vec![0; columns * 2 * rows * side * side * 3],
        };
        for tile in 0..columns * rows {
            let phantom = drawn(draw, first + tile as u64, side);
            let mut outlined = phantom.image.clone();
            for (number, (_, mask)) in phantom.targets.iter().enumerate() {
                let colour = [[0, 255, 0], [0, 200, 255], [255, 255, 0], [255, 0, 255]][number % 4];
                for place in 0..side * side {
                    let (x, y) = (place % side, place / side);
                    let edge = [(1, 0), (0, 1), (-1, 0), (0, -1)].iter().any(|&(dx, dy)| {
                        let (x, y) = (x as isize + dx, y as isize + dy);
                        x < 0
                            || y < 0
                            || x >= side as isize
                            || y >= side as isize
                            || mask.data[y as usize * side + x as usize] == 0
                    });
                    if mask.data[place] == 1 && edge {
                        outlined.data[place * 3..place * 3 + 3].copy_from_slice(&colour);
                    }
                }
            }
            let (left, top) = (tile % columns * 2 * side, tile / columns * side);
            for (shift, image) in [(0, &phantom.image), (side, &outlined)] {
                for y in 0..side {
                    let to = ((top + y) * sheet.width + left + shift) * 3;
                    sheet.data[to..to + side * 3]
                        .copy_from_slice(&image.data[y * side * 3..(y + 1) * side * 3]);
                }
            }
        }
        write_png_rgb(&Path::new(&folder).join(format!("{name}.png")), &sheet).ok();
    }
}
