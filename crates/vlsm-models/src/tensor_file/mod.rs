//! Named tensors in files: safetensors in and out, PyTorch's files in. Knows nothing of Burn.
//!
//! Floating-point tensors (f16, bf16, f32, f64) become f32; integer and boolean tensors (such as the `position_ids`
//! buffer of older CLIP files) become i64 and are kept apart, since no weight is one.

mod fingerprint;
mod pytorch;
mod safetensors;
mod torchscript;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use vlsm_image::fs::open_regular;

pub use self::fingerprint::{Fingerprint, fingerprint};
pub use self::pytorch::read_pytorch;
pub use self::safetensors::{
    WrittenAs, parse_safetensors, read_metadata, read_safetensors, write_safetensors,
    write_safetensors_as,
};

/// A floating-point tensor in main memory, row-major.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostTensor {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// An integer or boolean tensor in main memory, row-major.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntTensor {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values (booleans as 0 and 1); as many as the product of `shape`.
    pub data: Vec<i64>,
}

/// What a file of tensors holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TensorFile {
    /// Floating-point tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Integer and boolean tensors by name.
    pub ints: BTreeMap<String, IntTensor>,
    /// The text entries of a safetensors header; empty for PyTorch files.
    pub metadata: BTreeMap<String, String>,
    /// Names of floating-point tensors with a value that is infinite or not a number.
    pub non_finite: BTreeSet<String>,
}

/// The metadata without which Transformers does not read a safetensors file as PyTorch's.
pub fn pytorch_metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

/// An error in a file of tensors.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// The file cannot be opened or read.
    #[error("weights file `{}` cannot be read: {source}; check that it exists and that you may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is truncated, corrupt or of another kind.
    #[error("weights file `{}` is malformed: {reason}; it may be truncated or not a weights file: copy or download it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A tensor has an element type that cannot become f32 or i64.
    #[error("tensor `{tensor}` in weights file `{}` has element type {dtype}, which is not supported; save it as float32", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: String,
    },
    /// A PyTorch file has a Python object that keeps tensors in a way only its own class knows.
    #[error("weights file `{}` holds a Python object `{class}` with tensors inside, which cannot be read; in Python, save the weights alone: torch.save(torch.load(FILE)['state_dict'], NEW_FILE)", path.display())]
    PythonObject {
        /// The file.
        path: PathBuf,
        /// The object's class.
        class: String,
    },
    /// A weight is infinite or not a number.
    #[error("tensor `{tensor}` in weights file `{}` has values that are infinite or not a number, so a model with it computes nothing useful; use another copy or an earlier checkpoint of it", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
    },
    /// A tensor to be written has a shape that does not fit its values.
    #[error("tensor `{tensor}` for weights file `{}` has shape {shape:?} but {values} values; this is a fault of the caller", path.display())]
    Shape {
        /// The file that was to be written.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many values came with it.
        values: usize,
    },
    /// The file cannot be written. An older file of that name is unchanged.
    #[error("weights file `{}` cannot be written: {source}; {}", path.display(), write_fix(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn write_fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space on that disk, or write to another one"
        }
        io::ErrorKind::NotFound => "create its folder first",
        _ => "check that its folder exists and that you may write to it",
    }
}

/// Reads a file of tensors. Its format, safetensors or PyTorch's, is detected from its content.
///
/// # Errors
/// A file that is unreadable, of no known kind, or faulty (see [`read_safetensors`] and [`read_pytorch`]).
pub fn read(path: &Path) -> Result<TensorFile, TensorFileError> {
    const ZIP: &[u8] = b"PK\x03\x04";
    const PICKLE: u8 = 0x80;
    const TAR: &[u8] = b"ustar";

    let mut start = Vec::with_capacity(512);
    let opened = open_regular(path).and_then(|file| file.take(512).read_to_end(&mut start));
    opened.map_err(|source| TensorFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    // A safetensors file starts with the header's length in 8 bytes and the header's brace.
    if start.get(8) == Some(&b'{') {
        read_safetensors(path)
    } else if start.starts_with(ZIP)
        || start.first() == Some(&PICKLE)
        || start.get(257..262) == Some(TAR)
    {
        read_pytorch(path)
    } else {
        let reason = if start.is_empty() {
            "it is empty"
        } else {
            "it is neither safetensors nor a PyTorch file"
        };
        Err(TensorFileError::Malformed {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    }
}

/// The values of a floating-point or integer tensor.
enum Values {
    /// Real numbers, and whether all of them are finite.
    Float(Vec<f32>, bool),
    Int(Vec<i64>),
}

impl TensorFile {
    fn insert(&mut self, name: String, shape: Vec<usize>, values: Values) {
        match values {
            Values::Float(data, finite) => {
                if !finite {
                    self.non_finite.insert(name.clone());
                }
                self.tensors.insert(name, HostTensor { shape, data });
            }
            Values::Int(data) => drop(self.ints.insert(name, IntTensor { shape, data })),
        }
    }

    /// Checks that the tensors are weights that a model can compute with.
    ///
    /// # Errors
    /// If one has a value that is infinite or not a number; names it and the file, `path`. Causal masks, which some files
    /// hold, are exempt.
    pub fn expect_finite(&self, path: &Path) -> Result<(), TensorFileError> {
        let mut names = self.non_finite.iter();
        match names.find(|name| !name.ends_with("attn_mask")) {
            None => Ok(()),
            Some(tensor) => Err(TensorFileError::NotFinite {
                path: path.to_owned(),
                tensor: tensor.clone(),
            }),
        }
    }
}

/// Checks that tensors of these sizes in bytes can be those of a file. They may share storages, as tied weights do, but not so
/// often that a small file fills the memory.
fn expect_plausible(sizes: impl Iterator<Item = usize>, file_length: u64) -> Result<(), String> {
    /// Tensors may have this many times the file's length, and this much more.
    const SHARING: u64 = 8;
    const SLACK: u64 = 1 << 20;

    let total = sizes.fold(0u64, |total, size| total.saturating_add(size as u64));
    if total <= file_length.saturating_mul(SHARING).saturating_add(SLACK) {
        return Ok(());
    }
    Err(format!(
        "its tensors have {total} bytes, but the file only {file_length}"
    ))
}

/// Element types that are read, with their bytes in little-endian order.
#[derive(Debug, Clone, Copy)]
enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
}

impl Element {
    /// Bytes of one element.
    fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// Reads `count` elements from `source` in pieces, so that a big tensor is not in memory twice.
    fn read(self, source: &mut impl Read, count: usize) -> io::Result<Values> {
        // Infinite or not a number: all bits of the exponent are set.
        let finite = |values: &[f32]| {
            let mut finite = true;
            for value in values {
                finite &= value.to_bits() & 0x7f80_0000 != 0x7f80_0000;
            }
            finite
        };
        let real = |(data, finite)| Values::Float(data, finite);
        match self {
            Self::F64 => decode(source, count, |b| f64::from_le_bytes(b) as f32, finite).map(real),
            Self::F32 => decode(source, count, f32::from_le_bytes, finite).map(real),
            Self::F16 => {
                let half = |b| half::f16::from_le_bytes(b).to_f32();
                decode(source, count, half, finite).map(real)
            }
            Self::BF16 => {
                let half = |b| half::bf16::from_le_bytes(b).to_f32();
                decode(source, count, half, finite).map(real)
            }
            Self::I64 => ints(source, count, i64::from_le_bytes),
            Self::I32 => ints(source, count, |b| i32::from_le_bytes(b).into()),
            Self::I16 => ints(source, count, |b| i16::from_le_bytes(b).into()),
            Self::I8 => ints(source, count, |b| i8::from_le_bytes(b).into()),
            Self::U64 => ints(source, count, |b| u64::from_le_bytes(b) as i64),
            Self::U32 => ints(source, count, |b| u32::from_le_bytes(b).into()),
            Self::U16 => ints(source, count, |b| u16::from_le_bytes(b).into()),
            Self::U8 => ints(source, count, |[b]: [u8; 1]| b.into()),
        }
    }
}

/// Reads `count` integers of `N` bytes each.
fn ints<const N: usize>(
    source: &mut impl Read,
    count: usize,
    element: impl Fn([u8; N]) -> i64,
) -> io::Result<Values> {
    Ok(Values::Int(decode(source, count, element, |_| true)?.0))
}

/// Reads `count` elements of `N` bytes each, and says whether `good` holds for each piece of them. Pieces are checked while
/// they are in the processor's cache.
fn decode<const N: usize, T>(
    source: &mut impl Read,
    count: usize,
    element: impl Fn([u8; N]) -> T,
    good: impl Fn(&[T]) -> bool,
) -> io::Result<(Vec<T>, bool)> {
    const PIECE: usize = 1 << 16;
    let mut values = Vec::with_capacity(count);
    let mut all_good = true;
    let mut buffer = vec![0; PIECE.min(count) * N];
    while values.len() < count {
        let piece = &mut buffer[..(count - values.len()).min(PIECE) * N];
        source.read_exact(piece)?;
        let start = values.len();
        values.extend(piece.as_chunks().0.iter().map(|&bytes| element(bytes)));
        all_good &= good(&values[start..]);
    }
    Ok((values, all_good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_cannot_hold_large_tensors() {
        assert!(expect_plausible([4 << 20, 4 << 20].into_iter(), 4 << 20).is_ok());
        let error = expect_plausible([1 << 30; 100].into_iter(), 2 << 20).unwrap_err();
        assert!(error.contains("but the file only 2097152"), "{error}");
        assert!(expect_plausible([usize::MAX; 2].into_iter(), 1 << 40).is_err());
    }
}
