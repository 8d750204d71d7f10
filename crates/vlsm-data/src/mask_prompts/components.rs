//! Connected components of a mask, as runs of pixels.
//!
//! Own code, as [`shape`](super::shape): `imageproc`, which labels regions too, brings nalgebra, a second rand and some
//! fifteen other crates to all users of the library.

use vlsm_image::Mask;

/// Adjacent foreground pixels of one row: `x0..x1` in row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) y: usize,
    pub(crate) x0: usize,
    pub(crate) x1: usize,
}

/// A connected set of pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    /// Its pixels, from top to bottom and from left to right.
    pub(crate) runs: Vec<Run>,
    /// Number of pixels, at least 1.
    pub(crate) area: usize,
    /// Bounding box x0, y0, x1, y1, where x1 and y1 are exclusive.
    pub(crate) bbox: [usize; 4],
}

/// Which pixels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// Those that share a side.
    Four,
    /// Those that share a side or a corner.
    Eight,
}

/// The connected components of a mask's foreground, in the order of their first pixels by rows.
pub(crate) fn components(mask: &Mask, neighbours: Neighbours) -> Vec<Component> {
    let reach = match neighbours {
        Neighbours::Four => 0,
        Neighbours::Eight => 1,
    };
    let runs = runs(mask);
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    // First run of the row above that can still touch this run or a later one.
    let mut above = 0;
    for (at, run) in runs.iter().enumerate() {
        while runs[above].y + 1 < run.y
            || (runs[above].y + 1 == run.y && runs[above].x1 + reach <= run.x0)
        {
            above += 1;
        }
        let touching = (above..at)
            .take_while(|&other| runs[other].y < run.y && runs[other].x0 < run.x1 + reach);
        for other in touching {
            let (a, b) = (root(&mut parents, other), root(&mut parents, at));
            // The earlier run stays the root, so that components are ordered by their first pixel.
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut found: Vec<Component> = Vec::new();
    let mut indices = vec![usize::MAX; runs.len()];
    for (at, &run) in runs.iter().enumerate() {
        let root = root(&mut parents, at);
        if root == at {
            indices[at] = found.len();
            found.push(Component::of(run));
        } else {
            found[indices[root]].push(run);
        }
    }
    found
}

impl Component {
    fn of(run: Run) -> Self {
        Self {
            runs: vec![run],
            area: run.x1 - run.x0,
            bbox: [run.x0, run.y, run.x1, run.y + 1],
        }
    }

    fn push(&mut self, run: Run) {
        self.runs.push(run);
        self.area += run.x1 - run.x0;
        self.bbox = union(self.bbox, [run.x0, run.y, run.x1, run.y + 1]);
    }

    /// The component with its holes filled, that is everything inside its outline.
    pub(crate) fn filled(&self) -> Self {
        let [x0, y0, x1, y1] = self.bbox;
        // A frame of one pixel connects all of the outside.
        let (width, height) = (x1 - x0 + 2, y1 - y0 + 2);
        let mut outside = Mask::from_fn(width, height, |_, _| 1);
        for run in &self.runs {
            let row = (run.y - y0 + 1) * width + 1;
            outside.data[row + run.x0 - x0..row + run.x1 - x0].fill(0);
        }
        // Foreground pixels that touch at a corner are connected, so the background is not connected through it.
        let holes = components(&outside, Neighbours::Four)
            .into_iter()
            .filter(|part| part.bbox[0] > 0);
        let mut runs = self.runs.clone();
        let mut area = self.area;
        for hole in holes {
            area += hole.area;
            runs.extend(hole.runs.iter().map(|run| Run {
                y: run.y + y0 - 1,
                x0: run.x0 + x0 - 1,
                x1: run.x1 + x0 - 1,
            }));
        }
        runs.sort_by_key(|run| (run.y, run.x0));
        Self {
            runs,
            area,
            bbox: self.bbox,
        }
    }
}

/// The smallest box that contains both boxes.
pub(crate) fn union(a: [usize; 4], b: [usize; 4]) -> [usize; 4] {
    [
        a[0].min(b[0]),
        a[1].min(b[1]),
        a[2].max(b[2]),
        a[3].max(b[3]),
    ]
}

/// The runs of a mask's foreground, from top to bottom and from left to right.
fn runs(mask: &Mask) -> Vec<Run> {
    let mut runs = Vec::new();
    if mask.width == 0 {
        return runs;
    }
    for (y, row) in mask.data.chunks(mask.width).enumerate() {
        let mut x = 0;
        for part in row.chunk_by(|&a, &b| (a == 1) == (b == 1)) {
            if part[0] == 1 {
                runs.push(Run {
                    y,
                    x0: x,
                    x1: x + part.len(),
                });
            }
            x += part.len();
        }
    }
    runs
}

/// The root of a run's tree, with path halving.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask from rows of `#` and other characters.
    fn mask(rows: &[&str]) -> Mask {
        let data = rows
            .iter()
            .flat_map(|row| row.bytes().map(|b| u8::from(b == b'#')))
            .collect();
        Mask::new(rows[0].len(), rows.len(), data).unwrap()
    }

    fn areas(mask: &Mask, neighbours: Neighbours) -> Vec<usize> {
        let found = components(mask, neighbours);
        found.iter().map(|component| component.area).collect()
    }

    #[test]
    fn corners_join_with_eight_neighbours_only() {
        let mask = mask(&["#..#.", ".#.#.", "...#.", "#...#"]);
        assert_eq!(areas(&mask, Neighbours::Eight), [2, 4, 1]);
        assert_eq!(areas(&mask, Neighbours::Four), [1, 3, 1, 1, 1]);
    }

    #[test]
    fn branches_that_meet_below_are_one_component() {
        let mask = mask(&["#.#.#", "#.#.#", "#####", "....."]);
        let found = components(&mask, Neighbours::Four);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].area, found[0].bbox), (11, [0, 0, 5, 3]));
        // The second branch joins the first only through the third.
        let mask = self::mask(&["..#..#", "#.#..#", "#.####", "###..."]);
        assert_eq!(areas(&mask, Neighbours::Four), [13]);
    }

    #[test]
    fn rows_do_not_wrap_and_an_empty_mask_has_no_components() {
        let mask = mask(&["...##", "#....", "....#"]);
        assert_eq!(areas(&mask, Neighbours::Eight), [2, 1, 1]);
        assert!(components(&self::mask(&["...", "..."]), Neighbours::Eight).is_empty());
        let ignored = Mask::new(2, 1, vec![Mask::IGNORE, 1]).unwrap();
        assert_eq!(areas(&ignored, Neighbours::Eight), [1]);
        let none = Mask::new(0, 0, vec![]).unwrap();
        assert!(components(&none, Neighbours::Four).is_empty());
    }

    #[test]
    fn holes_are_filled_and_bays_are_not() {
        let mask = mask(&[".####.", ".#..#.", ".####.", ".#..#."]);
        let ring = &components(&mask, Neighbours::Eight)[0];
        let filled = ring.filled();
        assert_eq!((ring.area, filled.area), (12, 14));
        assert_eq!(filled.bbox, [1, 0, 5, 4]);
        assert_eq!(filled.runs[2], Run { y: 1, x0: 2, x1: 4 });
        // A ring connected only by corners still has an inside.
        let mask = self::mask(&[".#.", "#.#", ".#."]);
        assert_eq!(components(&mask, Neighbours::Eight)[0].filled().area, 5);
    }
}
