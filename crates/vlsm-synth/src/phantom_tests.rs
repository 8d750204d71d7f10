use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::phantom::{Phantom, SMALLEST_SHARE, share};
use crate::{endoscopy, street, ultrasound};
use vlsm_image::write_png_rgb;
use vlsm_image::{Mask, RgbImage};

type Draw = fn(&mut ChaCha8Rng, usize) -> Phantom;

const DOMAINS: [(&str, Draw); 3] = [
    ("endoscopy", endoscopy::draw),
    ("ultrasound", ultrasound::draw),
    ("street", street::draw),
];

fn drawn(draw: Draw, seed: u64, side: usize) -> Phantom {
    draw(&mut ChaCha8Rng::seed_from_u64(seed), side)
}

fn target<'a>(phantom: &'a Phantom, word: &str) -> Option<&'a Mask> {
    let found = phantom.targets.iter().find(|(name, _)| *name == word);
    found.map(|(_, mask)| mask)
}

/// Mean of each channel, 0 to 255.
fn means(image: &RgbImage) -> [f32; 3] {
    let mut sums = [0.0f32; 3];
    for pixel in image.data.chunks_exact(3) {
        for (sum, level) in sums.iter_mut().zip(pixel) {
            *sum += f32::from(*level);
        }
    }
    sums.map(|sum| sum * 3.0 / image.data.len() as f32)
}

#[test]
fn pixels_depend_on_the_seed_alone() {
    for (name, draw) in DOMAINS {
        let first = drawn(draw, 7, 96);
        assert_eq!(first, drawn(draw, 7, 96), "{name}");
        assert_ne!(first.image, drawn(draw, 8, 96).image, "{name}");
    }
}

#[test]
fn every_target_is_neither_tiny_nor_huge() {
    for (name, draw) in DOMAINS {
        for side in [96, 160, 320] {
            (0..200u64).into_par_iter().for_each(|seed| {
                let phantom = drawn(draw, seed, side);
                assert_eq!((phantom.image.width, phantom.image.height), (side, side));
                assert_eq!(phantom.image.data.len(), 3 * side * side);
                assert!(!phantom.targets.is_empty(), "{name} {seed} {side}");
                for (word, mask) in &phantom.targets {
                    assert_eq!((mask.width, mask.height), (side, side));
                    assert!(mask.data.len() == side * side && mask.data.iter().all(|v| *v <= 1));
                    let (covered, most) = (share(mask), if name == "street" { 0.6 } else { 0.25 });
                    assert!(
                        (SMALLEST_SHARE..most).contains(&covered),
                        "{name}, seed {seed}, side {side}: {word} covers {covered}"
                    );
                }
            });
        }
    }
}

#[test]
fn each_domain_has_its_classes() {
    for seed in 0..50 {
        for (draw, word) in [
            (endoscopy::draw as Draw, "polyp"),
            (ultrasound::draw, "lesion"),
        ] {
            let phantom = drawn(draw, seed, 96);
            assert_eq!(phantom.targets.len(), 1);
            assert_eq!(phantom.targets[0].0, word);
        }
    }
    let mut shown = [0; 4];
    for seed in 0..100 {
        let phantom = drawn(street::draw, seed, 96);
        for (count, word) in shown.iter_mut().zip(["road", "sky", "car", "sign"]) {
            *count += usize::from(target(&phantom, word).is_some());
        }
        let known = |word: &str| ["road", "sky", "car", "sign"].contains(&word);
        assert!(phantom.targets.iter().all(|(word, _)| known(word)));
    }
    let [road, sky, car, sign] = shown;
    assert!(road == 100 && sky >= 95, "road {road}, sky {sky}");
    assert!(
        (60..=100).contains(&car) && (50..=95).contains(&sign),
        "car {car}, sign {sign}"
    );
}

#[test]
fn street_masks_share_no_pixel() {
    for seed in 0..50 {
        let phantom = drawn(street::draw, seed, 160);
        for index in 0..160 * 160 {
            let claims = phantom
                .targets
                .iter()
                .filter(|(_, mask)| mask.data[index] == 1);
            assert!(claims.count() <= 1, "seed {seed}, pixel {index}");
        }
    }
}

#[test]
fn endoscopy_is_reddish_and_ultrasound_grey() {
    for seed in 0..50 {
        let [red, green, blue] = means(&drawn(endoscopy::draw, seed, 96).image);
        assert!(
            red > 1.25 * green && green > blue,
            "seed {seed}: {red} {green} {blue}"
        );
        assert!((60.0..230.0).contains(&red), "seed {seed}: {red}");

        let grey = drawn(ultrasound::draw, seed, 96).image;
        let mut pixels = grey.data.chunks_exact(3);
        assert!(pixels.all(|p| p[0] == p[1] && p[1] == p[2]), "seed {seed}");
        let mean = means(&grey)[0];
        assert!((25.0..180.0).contains(&mean), "seed {seed}: {mean}");
    }
}

#[test]
fn a_lesion_is_darker_than_its_surroundings() {
    for seed in 0..50 {
        let phantom = drawn(ultrasound::draw, seed, 160);
        let mask = &phantom.targets[0].1;
        let (mut inside, mut around) = ((0.0, 0.0), (0.0, 0.0));
        for index in 0..160 * 160 {
            let (x, y) = (index % 160, index / 160);
            let level = f32::from(phantom.image.data[3 * index]);
            // The surroundings are the pixels within 10 pixels to the lesion's left or right.
            let near = |d: usize| {
                x >= d && mask.data[index - d] == 1
                    || x + d < 160 && mask.data[y * 160 + x + d] == 1
            };
            if mask.data[index] == 1 {
                inside = (inside.0 + level, inside.1 + 1.0);
            } else if (4..=10).any(near) && level > 0.0 {
                around = (around.0 + level, around.1 + 1.0);
            }
        }
        let (inside, around) = (inside.0 / inside.1, around.0 / around.1);
        assert!(inside < 0.85 * around, "seed {seed}: {inside} in {around}");
    }
}

/// Writes contact sheets for visual inspection to the folder `VLSM_SHEETS` and prints the time per picture.
#[test]
#[ignore = "for visual inspection"]
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
        // The best of several runs, so that other work on the machine counts little.
        let best = |seed| {
            let runs = (0..5).map(|_| {
                let start = Instant::now();
                drawn(draw, seed, side);
                start.elapsed().as_secs_f64()
            });
            runs.fold(f64::MAX, f64::min)
        };
        let mean = (0..24).map(best).sum::<f64>() / 24.0;
        println!("{name}: {:.2} ms", 1e3 * mean);
        let mut sheet = RgbImage::filled(columns * 2 * side, rows * side, [0; 3]);
        for tile in 0..columns * rows {
            let phantom = drawn(draw, first + tile as u64, side);
            let mut outlined = phantom.image.clone();
            for (number, (_, mask)) in phantom.targets.iter().enumerate() {
                let colour = [[0, 255, 0], [0, 200, 255], [255, 255, 0], [255, 0, 255]][number % 4];
                for index in 0..side * side {
                    let (x, y) = (index % side, index / side);
                    let edge = [(1, 0), (0, 1), (-1, 0), (0, -1)].iter().any(|&(dx, dy)| {
                        let (x, y) = (x as isize + dx, y as isize + dy);
                        x < 0
                            || y < 0
                            || x >= side as isize
                            || y >= side as isize
                            || mask.data[y as usize * side + x as usize] == 0
                    });
                    if mask.data[index] == 1 && edge {
                        outlined.data[index * 3..index * 3 + 3].copy_from_slice(&colour);
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
