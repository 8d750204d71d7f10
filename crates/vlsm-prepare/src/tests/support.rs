//! Small downloads to prepare, for tests.

use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;
use vlsm_image::{Mask, RgbImage, read_class_map, write_png_gray, write_png_mask, write_png_rgb};

use crate::{PrepareError, Prepared, PublicSet, Result, SplitBy, prepare};

/// Width and height of the images.
pub(super) const SIZE: (usize, usize) = (5, 4);

/// A download in a temporary folder, and its output folder.
pub(super) struct Download {
    folder: TempDir,
    set: &'static PublicSet,
}

impl Download {
    pub(super) fn new(name: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            set: PublicSet::named(name).unwrap(),
        }
    }

    /// A path in the download; its parent folders are created.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("from").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        let path = self.path(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Writes an image with colours that depend on its name.
    pub(super) fn image(&self, name: &str) {
        let shade = name
            .bytes()
            .fold(7u8, |sum, b| sum.wrapping_mul(31).wrapping_add(b));
        let (width, height) = SIZE;
        let data = (0..width * height * 3).map(|at| shade.wrapping_add(at as u8));
        let image = RgbImage::new(width, height, data.collect()).unwrap();
        write_png_rgb(&self.path(name), &image).unwrap();
    }

    /// Writes a binary mask: `#` is foreground, rows are separated by spaces.
    pub(super) fn mask(&self, name: &str, rows: &str) {
        write_png_mask(&self.path(name), &mask(rows)).unwrap();
    }

    /// Writes the digits of `rows` as levels.
    pub(super) fn ids(&self, name: &str, rows: &str) {
        let (width, height, data) = digits(rows);
        write_png_gray(&self.path(name), width, height, &data).unwrap();
    }

    /// Writes an image; `colour` gives the colour of each letter in `rows`.
    pub(super) fn colours(&self, name: &str, rows: &str, colour: impl Fn(char) -> [u8; 3]) {
        let height = rows.split(' ').count();
        let data: Vec<u8> = rows
            .split(' ')
            .flat_map(str::chars)
            .flat_map(colour)
            .collect();
        let image = RgbImage::new(data.len() / 3 / height, height, data).unwrap();
        write_png_rgb(&self.path(name), &image).unwrap();
    }

    /// Writes the digits of `rows` as a NIfTI image.
    pub(super) fn nifti(&self, name: &str, rows: &str) {
        let (width, height, data) = digits(rows);
        self.write(name, nifti(width as u8, height as u8, &data));
    }

    /// A file of the prepared data set.
    pub(super) fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    pub(super) fn try_prepare(&self) -> Result<Prepared> {
        let from = self.folder.path().join("from");
        prepare(
            self.set,
            &from,
            &self.out(""),
            &SplitBy::Seed(42),
            |_, _| {},
        )
    }

    pub(super) fn prepare(&self) -> Prepared {
        self.try_prepare().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error of a download that cannot be prepared; asserts that no files remain.
    pub(super) fn fails(&self) -> String {
        let error = self.try_prepare().unwrap_err();
        let left: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "from")
            .collect();
        assert!(left.is_empty(), "{left:?}");
        if let PrepareError::Download { set, .. } = &error {
            let text = error.to_string();
            assert!(
                text.contains(set) && text.contains(self.set.layout),
                "{text}"
            );
        }
        error.to_string()
    }

    /// The entries of a split; empty if there are none.
    pub(super) fn entries(&self, split: &str) -> Vec<Value> {
        let Ok(text) = std::fs::read(self.out(&format!("anns/{split}.json"))) else {
            return Vec::new();
        };
        serde_json::from_slice(&text).unwrap()
    }

    /// Image, mask and class of each entry of all splits, sorted.
    pub(super) fn samples(&self) -> Vec<(String, String, String)> {
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_string();
        let mut samples: Vec<_> = ["train", "val", "test"]
            .into_iter()
            .flat_map(|split| self.entries(split))
            .map(|e| {
                let class = e["prompts"]["p1"].as_str().unwrap().to_string();
                (text(&e, "img_name"), text(&e, "mask_name"), class)
            })
            .collect();
        samples.sort();
        samples
    }

    /// A written mask, whose levels must be 0 and 255, in the notation of [`Self::mask`].
    pub(super) fn written(&self, name: &str) -> String {
        let map = read_class_map(&self.out("masks").join(name)).unwrap();
        assert!(map.data.iter().all(|level| [0, 255].contains(level)));
        let signs = map
            .data
            .iter()
            .map(|&level| if level == 255 { '#' } else { '.' });
        rows(signs.collect(), map.width)
    }

    /// Written class ids, in the notation of [`Self::ids`]; 255 is `!`.
    pub(super) fn written_ids(&self, name: &str) -> String {
        let map = read_class_map(&self.out(name)).unwrap();
        let digit = |&id: &u8| char::from_digit(id.into(), 36).unwrap_or('!');
        rows(map.data.iter().map(digit).collect(), map.width)
    }

    /// Whether the written image equals the download's byte for byte.
    pub(super) fn is_same(&self, from: &str, out: &str) -> bool {
        std::fs::read(self.path(from)).unwrap() == std::fs::read(self.out(out)).unwrap()
    }
}

/// Parses a mask of `#` and `.`.
pub(crate) fn mask(rows: &str) -> Mask {
    let height = rows.split(' ').count();
    let data: Vec<u8> = rows
        .chars()
        .filter(|&sign| sign != ' ')
        .map(|sign| u8::from(sign == '#'))
        .collect();
    Mask::new(data.len() / height, height, data).unwrap()
}

/// Width, height and values of rows of digits from `0` to `z`.
pub(crate) fn digits(rows: &str) -> (usize, usize, Vec<u8>) {
    let height = rows.split(' ').count();
    let digits = rows.chars().filter_map(|digit| digit.to_digit(36));
    let data: Vec<u8> = digits.map(|digit| digit as u8).collect();
    (data.len() / height, height, data)
}

fn rows(signs: Vec<char>, width: usize) -> String {
    let rows: Vec<String> = signs
        .chunks(width)
        .map(|row| row.iter().collect())
        .collect();
    rows.join(" ")
}

/// A compressed NIfTI-1 image of 8-bit levels.
pub(crate) fn nifti(width: u8, height: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 352];
    bytes[..2].copy_from_slice(&[92, 1]);
    for (axis, length) in [2, width, height, 1].into_iter().enumerate() {
        bytes[40 + 2 * axis] = length;
    }
    bytes[70] = 2;
    bytes[108..112].copy_from_slice(&352f32.to_le_bytes());
    bytes[344..347].copy_from_slice(b"n+1");
    bytes.extend(data);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    packed.finish().unwrap()
}
