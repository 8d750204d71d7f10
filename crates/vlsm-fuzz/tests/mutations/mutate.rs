//! Deterministic mutations of valid files.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Mutated inputs are at most this long, in bytes.
const LONGEST: usize = 1 << 20;

/// Numbers at the limits of integer types and of formats, as they are written in texts.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967295",
    "4611686018427387904",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "-0.0",
    "1e-320",
];

/// Tokens of JSON, TOML and CSV, and other short texts at which parsers go wrong.
const TOKENS: [&str; 24] = [
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    ":",
    "=",
    "\n",
    "null",
    "true",
    "NaN",
    "inf",
    "\\u0000",
    "\u{feff}",
    "''",
    "../",
    "/dev/zero",
    "[[",
    "#",
    "\r\n",
    "\\",
    "[[]]",
    "\u{1f600}",
];

/// Mutation `number` of `seeds`; the first are the seeds themselves.
pub(crate) fn mutation(seeds: &[Vec<u8>], number: usize) -> Vec<u8> {
    let mut bytes = seeds[number % seeds.len()].clone();
    if number < seeds.len() {
        return bytes;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
    for _ in 0..rng.random_range(1..5) {
        step(&mut bytes, seeds, &mut rng);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn step(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    let length = bytes.len();
    // Lengths and types are mostly at the start; so are half of the changes.
    let near = if rng.random() {
        length
    } else {
        length.min(512)
    };
    let at = rng.random_range(0..=near);
    let end = at + rng.random_range(0..=(length - at).min(64));
    let text = std::str::from_utf8(bytes).is_ok() && rng.random_ratio(3, 4);
    if text {
        return text_step(bytes, at, end, rng);
    }
    match rng.random_range(0..10) {
        0 if at < length => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < length => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(rng).unwrap_or(&0),
        2 if at < length => bytes[at] = rng.random(),
        3 => bytes.truncate(at),
        4 => drop(bytes.splice(at..at, (0..rng.random_range(1..9)).map(|byte| byte ^ 0x5a))),
        5 => {
            let copy = bytes[at..end].repeat(rng.random_range(1..4));
            bytes.splice(at..at, copy);
        }
        6 => drop(bytes.drain(at..end)),
        7 => {
            let other = &seeds[rng.random_range(0..seeds.len())];
            let from = rng.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        // Many repetitions of a little: deep nesting, many entries.
        8 => {
            let copy = bytes[at..end.min(at + 8)].repeat(1 << rng.random_range(4..14));
            bytes.splice(at..at, copy);
        }
        _ => integer(bytes, at, rng),
    }
}

/// Overwrites an integer of 2, 4 or 8 bytes, in either order: with a number at a limit, or with one close to the old.
fn integer(bytes: &mut [u8], at: usize, rng: &mut ChaCha8Rng) {
    let size = 1 << rng.random_range(1..4);
    let Some(field) = bytes.get_mut(at..at + size) else {
        return;
    };
    let bits = 8 * size as u32;
    let value: u64 = match rng.random_range(0..7) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX >> (65 - bits),
        3 => 1 << (bits - 1),
        4 => 1 << rng.random_range(0..bits),
        5 => u64::from(field[0]) + 1,
        _ => rng.random(),
    };
    field.copy_from_slice(&value.to_le_bytes()[..size]);
    if rng.random() {
        field.reverse();
    }
}

fn text_step(bytes: &mut Vec<u8>, at: usize, end: usize, rng: &mut ChaCha8Rng) {
    match rng.random_range(0..6) {
        0 | 1 => {
            // The next number.
            let digit = |byte: &u8| byte.is_ascii_digit();
            let Some(start) = bytes[at..].iter().position(digit).map(|start| at + start) else {
                return;
            };
            let rest = &bytes[start..];
            let stop = start
                + rest
                    .iter()
                    .position(|byte| !digit(byte))
                    .unwrap_or(rest.len());
            let number = NUMBERS.choose(rng).unwrap_or(&"0");
            bytes.splice(start..stop, number.bytes());
        }
        2 => {
            let token = TOKENS.choose(rng).unwrap_or(&"[");
            bytes.splice(at..at, token.bytes());
        }
        3 => {
            let token = TOKENS.choose(rng).unwrap_or(&"[");
            let copies = token.repeat(1 << rng.random_range(4..14));
            bytes.splice(at..at, copies.bytes());
        }
        4 => {
            // A line or entry twice, or gone.
            let is_end = |byte: &u8| matches!(byte, b'\n' | b',');
            let next = |from: usize| {
                let rest = bytes.get(from..).unwrap_or_default();
                rest.iter().position(is_end).map(|at| from + at + 1)
            };
            if let Some(start) = next(at)
                && let Some(stop) = next(start)
            {
                let entry: Vec<u8> = bytes.drain(start..stop).collect();
                if rng.random() {
                    bytes.splice(start..start, entry.repeat(2));
                }
            }
        }
        _ => drop(bytes.drain(at..end)),
    }
}
