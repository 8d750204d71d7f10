//! Prediction on large images by overlapping tiles.
//!
//! Each tile is an image to the model. Where tiles overlap, their probabilities are blended with weights that fall smoothly
//! to 0 at a tile's border and sum to 1 at each pixel, so that no seam shows.

use vlsm_image::{Mask, RgbImage};

use super::adapter::Adapter;
use super::engine::Engine;
use super::masks::Prediction;
use super::request::Request;
use crate::error::{ModelError, Result};

/// Smallest side of a tile, in pixels: a model sees next to nothing of an object in less.
const MIN_SIDE: usize = 32;

/// Square tiles of an image, which overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    side: usize,
    overlap: usize,
}

impl Tiles {
    /// Tiles of `side` pixels of the image, neighbours of which share at least `overlap` pixels, by default a quarter. The
    /// last tile of a row ends at the image's border, so that tiles of an image share more where its size asks for it.
    ///
    /// # Errors
    /// If a tile has fewer than 32 pixels a side, or more than half of it is overlap.
    pub fn new(side: usize, overlap: Option<usize>) -> Result<Self> {
        if side < MIN_SIDE {
            return Err(ModelError::Tiles(format!(
                "a tile of {side} pixels is too small; use at least {MIN_SIDE}, and best a size at which an object fits well \
                 into a tile"
            )));
        }
        let overlap = overlap.unwrap_or(side / 4);
        if overlap > side / 2 {
            return Err(ModelError::Tiles(format!(
                "an overlap of {overlap} pixels is more than half of a tile of {side}; use at most {}",
                side / 2
            )));
        }
        Ok(Self { side, overlap })
    }

    /// Side of a tile, in pixels of the image.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Smallest overlap of neighbours, in pixels of the image.
    pub fn overlap(&self) -> usize {
        self.overlap
    }

    /// Number of tiles of an image of a width and height.
    pub fn count(&self, (width, height): (usize, usize)) -> usize {
        self.along(width).len() * self.along(height).len()
    }

    /// The tiles along an axis of `length` pixels, spread evenly.
    fn along(&self, length: usize) -> Vec<Span> {
        let side = self.side.min(length);
        let gaps = (length - side).div_ceil(self.side - self.overlap);
        // Positions are rounded to whole pixels.
        let start = |index: usize| (index * (length - side) + gaps / 2) / gaps.max(1);
        let shared = |left: usize| (start(left) + side - start(left + 1)).min(side / 2);
        let raw: Vec<Vec<f32>> = (0..=gaps)
            .map(|index| {
                let before = (index > 0).then(|| shared(index - 1));
                let after = (index < gaps).then(|| shared(index));
                (0..side)
                    .map(|at| ramp(at, before) * ramp(side - 1 - at, after))
                    .collect()
            })
            .collect();
        let mut sums = vec![0.0; length];
        for (index, weights) in raw.iter().enumerate() {
            for (sum, weight) in sums[start(index)..].iter_mut().zip(weights) {
                *sum += weight;
            }
        }
        let spans = raw.into_iter().enumerate().map(|(index, mut weights)| {
            let start = start(index);
            for (weight, sum) in weights.iter_mut().zip(&sums[start..]) {
                *weight /= sum;
            }
            Span { start, weights }
        });
        spans.collect()
    }
}

/// Where a tile is along an axis, and its share of the answer at each of its pixels.
struct Span {
    start: usize,
    weights: Vec<f32>,
}

/// A weight that rises smoothly from a tile's border over the pixels that it shares with its neighbour; 1 at a border of the
/// image.
fn ramp(from_border: usize, shared: Option<usize>) -> f32 {
    let t = match shared {
        Some(shared) if shared > 0 => ((from_border as f32 + 0.5) / shared as f32).min(1.0),
        _ => 1.0,
    };
    t * t * (3.0 - 2.0 * t)
}

impl Engine {
    /// Answers prompts about a large image, tile by tile; each tile is resized to a square of `image_size` pixels. A mask has
    /// the pixels with a blended probability above half, at the image's own size. An image that one tile covers has the
    /// answer of [`predict_one`](Self::predict_one).
    ///
    /// Memory grows with the size of the answers, not with the number of tiles: one tile is encoded at a time.
    ///
    /// # Errors
    /// As [`encode`](Self::encode) and [`predict`](Self::predict).
    pub fn predict_tiled(
        &self,
        adapter: &Adapter,
        image: &RgbImage,
        image_size: usize,
        tiles: Tiles,
        prompts: &[&str],
    ) -> Result<Vec<Prediction>> {
        crate::preprocess::check_image(image)?;
        let (width, height) = (image.width, image.height);
        let (columns, rows) = (tiles.along(width), tiles.along(height));
        let answer = |image: &RgbImage| {
            let image = &self.encode_one(adapter, image, image_size)?;
            self.predict_one(&Request {
                image,
                adapter,
                prompts,
            })
        };
        if columns.len() * rows.len() == 1 {
            return answer(image);
        }
        let mut blended = vec![vec![0.0; width * height]; prompts.len()];
        for row in &rows {
            for column in &columns {
                let size = (column.weights.len(), row.weights.len());
                let answers = answer(&image.crop((column.start, row.start), size))?;
                for (blended, answer) in blended.iter_mut().zip(answers) {
                    let lines = answer.probability.chunks(size.0).zip(&row.weights);
                    for (y, (line, down)) in lines.enumerate() {
                        let target = &mut blended[(row.start + y) * width + column.start..];
                        let line = line.iter().zip(&column.weights);
                        for (target, (probability, across)) in target.iter_mut().zip(line) {
                            *target += probability * across * down;
                        }
                    }
                }
            }
        }
        let answers = prompts.iter().zip(blended).map(|(prompt, probability)| {
            // Above half, as a prediction's mask is everywhere; exactly half is background.
            let mask = |x, y| u8::from(probability[y * width + x] > 0.5);
            Prediction {
                prompt: (*prompt).to_owned(),
                mask: Mask::from_fn(width, height, mask),
                probability,
            }
        });
        Ok(answers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_one_and_tiles_reach_both_borders() {
        for (length, side, overlap) in [
            (3000, 700, Some(175)),
            (3000, 1000, Some(0)),
            (1001, 1000, None),
            (50, 64, None),
            (64, 64, None),
            (1, 32, None),
            (333, 32, Some(16)),
        ] {
            let spans = Tiles::new(side, overlap).unwrap().along(length);
            let mut sums = vec![0.0; length];
            for Span { start, weights } in &spans {
                assert_eq!(weights.len(), side.min(length));
                for (sum, weight) in sums[*start..].iter_mut().zip(weights) {
                    *sum += weight;
                }
            }
            assert!(
                sums.iter().all(|sum: &f32| (sum - 1.0).abs() < 1e-6),
                "{length} {side}"
            );
            for pair in spans.windows(2) {
                let shared = pair[0].start + side - pair[1].start;
                assert!(
                    shared >= overlap.unwrap_or(side / 4),
                    "{length} {side}: {shared}"
                );
            }
            let last = spans.last().unwrap();
            assert_eq!(
                (spans[0].start, last.start + last.weights.len()),
                (0, length)
            );
        }
    }

    #[test]
    fn shares_change_smoothly_across_a_tiles_border() {
        let spans = Tiles::new(400, Some(100)).unwrap().along(1000);
        for Span { weights, start } in spans {
            for pair in weights.windows(2) {
                assert!((pair[1] - pair[0]).abs() < 0.02);
            }
            let outer = (weights[0], weights[399]);
            assert_eq!(outer.0 == 1.0, start == 0);
            assert_eq!(outer.1 == 1.0, start == 600);
            assert!(outer.0 == 1.0 || outer.0 < 1e-3);
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        let error = |side, overlap| Tiles::new(side, overlap).unwrap_err().to_string();
        assert!(error(0, None).contains("at least 32"));
        assert!(error(100, Some(51)).contains("at most 50"));
    }
}
