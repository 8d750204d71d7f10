//! COCO's run-length encoding of masks.

use serde::Deserialize;
use vlsm_image::Mask;

/// A mask in the JSON form of `pycocotools`: `{"size": [height, width], "counts": "..."}`.
#[derive(Deserialize)]
pub struct Rle {
    /// Height and width.
    pub size: [usize; 2],
    /// Lengths of alternating background and foreground runs, column by column from the left, as text. Each character
    /// holds five bits (offset `0`), lowest first, with bit 5 set if more follow; numbers are in two's complement. From
    /// the fourth number on, each is the difference from the one two before it (`maskApi.c`, `rleToString`).
    pub counts: String,
}

impl Rle {
    /// The mask.
    ///
    /// # Errors
    /// The reason, if the text is damaged or does not fit the size.
    pub fn decode(&self) -> Result<Mask, String> {
        let [height, width] = self.size;
        let pixels = height.checked_mul(width).filter(|&n| n > 0 && n <= 1 << 28);
        let pixels = pixels.ok_or_else(|| format!("{width}x{height} is not a valid image size"))?;
        // The mask is allocated once the runs are known to fit it.
        let mut ends = Vec::new();
        let mut start = 0usize;
        for run in self.runs()? {
            let run = usize::try_from(run).map_err(|_| "a run has a negative length")?;
            start = start.saturating_add(run);
            if start > pixels {
                return Err(format!("its runs are longer than {width}x{height} pixels"));
            }
            ends.push(start);
        }
        if start != pixels {
            return Err(format!("its runs cover {start} of {width}x{height} pixels"));
        }
        let mut mask = Mask::empty(width, height);
        for run in ends.chunks_exact(2) {
            for pixel in run[0]..run[1] {
                mask.data[pixel % height * width + pixel / height] = 1;
            }
        }
        Ok(mask)
    }

    /// The lengths of the runs.
    fn runs(&self) -> Result<Vec<i64>, &'static str> {
        let mut runs: Vec<i64> = Vec::new();
        let mut bytes = self.counts.bytes();
        while let Some(mut byte) = bytes.next() {
            let (mut value, mut shift) = (0i64, 0);
            loop {
                let bits = byte.checked_sub(b'0').filter(|&bits| bits < 64);
                let bits = i64::from(bits.ok_or("it has a character outside the encoding")?);
                value |= (bits & 0x1f) << shift;
                shift += 5;
                if bits & 0x20 == 0 {
                    if bits & 0x10 != 0 {
                        value -= 1 << shift;
                    }
                    break;
                }
                if shift > 50 {
                    return Err("it has a number with too many digits");
                }
                byte = bytes.next().ok_or("it ends in the middle of a number")?;
            }
            if runs.len() > 2 {
                let before = runs[runs.len() - 2];
                value = value.checked_add(before).ok_or("a run is too long")?;
            }
            runs.push(value);
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::mask;

    fn decode(size: [usize; 2], counts: &str) -> Result<Mask, String> {
        let counts = counts.to_string();
        Rle { size, counts }.decode()
    }

    /// Made by `pycocotools.mask.encode`.
    #[test]
    fn masks_are_those_of_pycocotools() {
        for (size, counts, rows) in [
            ([4, 5], "51220O3", "..#.. .###. ..##. ....."),
            ([3, 4], "0<", "#### #### ####"),
            ([2, 5], ":", "..... ....."),
            (
                [3, 9],
                "0110000000000000000000000000",
                "#.#.#.#.# .#.#.#.#. #.#.#.#.#",
            ),
        ] {
            assert_eq!(decode(size, counts).unwrap(), mask(rows), "{counts}");
        }
        // An ellipse and a bar: numbers of several characters, of both signs.
        let counts = "::l1000000000000000gj01VUO4M2N2M4N0O2N2N2O0O2O0O2O0O2O0O2O00000O2O00000000000000\
                      0000000000000000000001N1000001N101N101N101N101N2N2N102L3N2N3LUe0";
        let ellipse = decode([70, 90], counts).unwrap();
        assert_eq!(ellipse.foreground(), 1959);
        let at = |(y, x): (usize, usize)| ellipse.data[y * 90 + x];
        let points = [
            (30, 50),
            (12, 3),
            (69, 89),
            (49, 50),
            (50, 50),
            (30, 79),
            (30, 80),
        ];
        assert_eq!(points.map(at), [1, 1, 0, 1, 0, 1, 0]);
        // The empty mask of an absent finding, from the sample in the authors' repository.
        let empty = decode([2320, 2828], "PVWX6").unwrap();
        assert_eq!(
            (empty.width, empty.height, empty.foreground()),
            (2828, 2320, 0)
        );
    }

    #[test]
    fn broken_text_is_reported() {
        for (counts, reason) in [
            ("PVWX", "middle of a number"),
            ("PVWX6", "longer than 3x2"),
            ("1 ", "outside the encoding"),
            ("3", "cover 3 of 3x2"),
            ("PPPPPPPPPPPPPPP", "too many digits"),
            ("O", "negative"),
        ] {
            let error = decode([2, 3], counts).unwrap_err();
            assert!(error.contains(reason), "{counts}: {error}");
        }
        // Each number is 2^54 more than the one two before it.
        let error = decode([2, 3], &"PPPPPPPPPP?".repeat(2000)).unwrap_err();
        assert!(error.contains("too long"), "{error}");
        assert!(decode([0, 3], "0").is_err());
        assert!(decode([usize::MAX, 3], "0").is_err());
    }
}
