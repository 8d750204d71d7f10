//! Cleaning of predicted masks: holes, small parts, all parts but the largest.

use vlsm_image::Mask;

use crate::mask_prompts::components::{Component, Neighbours, components};

/// What is removed from or added to a mask, in the order of the fields. Parts are connected pixels, with eight neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Fill holes: background that a part encloses.
    pub fill_holes: bool,
    /// Remove parts with fewer pixels than this.
    pub min_area: usize,
    /// Remove all parts but the largest; of equals, the first from the top remains.
    pub largest: bool,
}

impl Cleanup {
    /// The cleaned mask, and its number of parts.
    ///
    /// ```
    /// use vlsm_data::Cleanup;
    /// use vlsm_image::Mask;
    ///
    /// // A ring, and a pixel to the right of it.
    /// let mask = Mask::from_fn(5, 3, |x, y| u8::from((x < 3 && (x, y) != (1, 1)) || (x, y) == (4, 0)));
    /// let cleanup = Cleanup { fill_holes: true, largest: true, ..Cleanup::default() };
    /// let (cleaned, parts) = cleanup.apply(&mask);
    /// assert_eq!((cleaned.foreground(), parts), (9, 1));
    /// ```
    pub fn apply(&self, mask: &Mask) -> (Mask, usize) {
        let mut parts = components(mask, Neighbours::Eight);
        if *self == Self::default() {
            return (mask.clone(), parts.len());
        }
        if self.fill_holes {
            parts = parts.iter().map(Component::filled).collect();
            if parts.len() > 1 {
                // A part inside another one's hole is now a part of it.
                parts = components(&drawn(&parts, mask), Neighbours::Eight);
            }
        }
        parts.retain(|part| part.area >= self.min_area);
        if self.largest {
            // `max_by_key` returns the last of equals; reversed, this is the first.
            let largest = parts.iter().rev().max_by_key(|part| part.area);
            parts = largest.cloned().into_iter().collect();
        }
        (drawn(&parts, mask), parts.len())
    }
}

/// The connected parts of a mask that have at least `min_area` pixels, with eight neighbours, from the top: each as a mask, and its
/// box `[left, top, right, bottom]`, where right and bottom are exclusive.
pub fn parts(mask: &Mask, min_area: usize) -> Vec<(Mask, [usize; 4])> {
    let parts = components(mask, Neighbours::Eight).into_iter();
    parts
        .filter(|part| part.area >= min_area)
        .map(|part| (drawn(std::slice::from_ref(&part), mask), part.bbox))
        .collect()
}

/// A mask of parts, of the size of `like`.
fn drawn(parts: &[Component], like: &Mask) -> Mask {
    let mut mask = Mask::empty(like.width, like.height);
    for run in parts.iter().flat_map(|part| &part.runs) {
        mask.data[run.y * like.width + run.x0..run.y * like.width + run.x1].fill(1);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Mask {
        let pixels = rows.iter().flat_map(|row| row.bytes());
        let data = pixels.map(|byte| u8::from(byte == b'#')).collect();
        Mask::new(rows[0].len(), rows.len(), data).unwrap()
    }

    fn cleaned(cleanup: Cleanup, rows: &[&str], expected: &[&str], parts: usize) {
        assert_eq!(cleanup.apply(&mask(rows)), (mask(expected), parts));
    }

    const NONE: Cleanup = Cleanup {
        fill_holes: false,
        min_area: 0,
        largest: false,
    };

    #[test]
    fn holes_and_what_is_in_them_become_one_part() {
        let fill_holes = Cleanup {
            fill_holes: true,
            ..NONE
        };
        let rings = ["#####..", "#...#.#", "#.#.#.#", "#...#..", "#####.."];
        let filled = ["#####..", "#####.#", "#####.#", "#####..", "#####.."];
        cleaned(NONE, &rings, &rings, 3);
        cleaned(fill_holes, &rings, &filled, 2);
    }

    #[test]
    fn small_parts_are_removed_and_the_first_of_the_largest_remains() {
        let rows = ["##...#", "......", "##.###"];
        let min_area = Cleanup {
            min_area: 2,
            ..NONE
        };
        cleaned(min_area, &rows, &["##....", "......", "##.###"], 3);
        let largest = Cleanup {
            largest: true,
            ..NONE
        };
        cleaned(largest, &rows, &["......", "......", "...###"], 1);
        cleaned(largest, &["##.", "...", ".##"], &["##.", "...", "..."], 1);
        // Together: nothing is left.
        let both = Cleanup {
            min_area: 7,
            ..largest
        };
        cleaned(both, &rows, &["......"; 3], 0);
        cleaned(both, &["..."], &["..."], 0);
    }
}
