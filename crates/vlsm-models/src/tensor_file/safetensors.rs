//! Safetensors files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::json;

use super::{Element, HostTensor, TensorFile, TensorFileError};

/// Bytes of the header's length at the start of the file.
const LENGTH_BYTES: u64 = 8;
/// The format's limit. Parsed, a header takes over ten times as much memory.
const LARGEST_HEADER: u64 = 100_000_000;
/// The data starts at a multiple of this.
const ALIGNMENT: usize = 8;

/// Reads a safetensors file. Memory: the tensors as f32, and one small buffer.
///
/// # Errors
/// A file that is unreadable, truncated, malformed, or holds an element type that is neither a real number nor an integer.
pub fn read_safetensors(path: &Path) -> Result<TensorFile, TensorFileError> {
    let (file, length) = open(path)?;
    parse(file, length, path)
}

/// Reads the metadata of a safetensors file, and nothing of its tensors.
///
/// # Errors
/// A file that is unreadable, or whose header is truncated or malformed.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, TensorFileError> {
    let (mut file, length) = open(path)?;
    Ok(metadata(&header_of(&mut file, length, path)?.1))
}

/// A file and its length.
fn open(path: &Path) -> Result<(File, u64), TensorFileError> {
    let open = || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|source| TensorFileError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads a safetensors file that is in memory; `name` stands for its path in messages.
///
/// # Errors
/// As [`read_safetensors`].
pub fn parse_safetensors(bytes: &[u8], name: &Path) -> Result<TensorFile, TensorFileError> {
    parse(Cursor::new(bytes), bytes.len() as u64, name)
}

fn parse(
    mut file: impl Read + Seek,
    file_length: u64,
    path: &Path,
) -> Result<TensorFile, TensorFileError> {
    let io_error = |source| TensorFileError::Read {
        path: path.to_owned(),
        source,
    };
    let malformed = |reason: String| TensorFileError::Malformed {
        path: path.to_owned(),
        reason,
    };

    let (header_length, header) = header_of(&mut file, file_length, path)?;
    let data_start = LENGTH_BYTES + header_length;
    let data_length = header.data_len() as u64;
    if data_start + data_length != file_length {
        return Err(malformed(format!(
            "its header describes {} bytes but the file has {file_length}",
            data_start + data_length
        )));
    }

    let mut content = TensorFile {
        metadata: metadata(&header),
        ..TensorFile::default()
    };
    for name in header.offset_keys() {
        let info = header
            .info(&name)
            .ok_or_else(|| malformed(format!("tensor `{name}` is not described")))?;
        let element = element(info.dtype).ok_or_else(|| TensorFileError::Unsupported {
            path: path.to_owned(),
            tensor: name.clone(),
            dtype: format!("{:?}", info.dtype),
        })?;
        let (from, to) = info.data_offsets;
        file.seek(SeekFrom::Start(data_start + from as u64))
            .map_err(io_error)?;
        let values = element
            .read(&mut file, (to - from) / element.size())
            .map_err(io_error)?;
        content.insert(name, info.shape.clone(), values);
    }
    Ok(content)
}

fn metadata(header: &Metadata) -> BTreeMap<String, String> {
    let pairs = header.metadata().iter().flatten();
    pairs.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// [`read_header`] of a file, whose errors name `path`.
fn header_of(
    file: &mut impl Read,
    length: u64,
    path: &Path,
) -> Result<(u64, Metadata), TensorFileError> {
    read_header(file, length).map_err(|error| match error {
        HeaderError::Io(source) => TensorFileError::Read {
            path: path.to_owned(),
            source,
        },
        HeaderError::Malformed(reason) => TensorFileError::Malformed {
            path: path.to_owned(),
            reason,
        },
    })
}

enum HeaderError {
    Io(io::Error),
    Malformed(String),
}

/// Reads the header: its length in bytes and what it says, checked by the `safetensors` crate.
fn read_header(file: &mut impl Read, file_length: u64) -> Result<(u64, Metadata), HeaderError> {
    let mut length = [0; LENGTH_BYTES as usize];
    let cut = || {
        HeaderError::Malformed(format!(
            "it ends inside its header, after {file_length} bytes"
        ))
    };
    if file_length < LENGTH_BYTES {
        return Err(cut());
    }
    file.read_exact(&mut length).map_err(HeaderError::Io)?;
    let length = u64::from_le_bytes(length);
    if length > file_length - LENGTH_BYTES {
        return Err(cut());
    }
    if length > LARGEST_HEADER {
        return Err(HeaderError::Malformed(format!(
            "its header has {length} bytes, above the format's limit of {LARGEST_HEADER}"
        )));
    }
    let mut header = Vec::new();
    file.take(length)
        .read_to_end(&mut header)
        .map_err(HeaderError::Io)?;
    // Not `SafeTensors::read_metadata`: that wants the whole file in memory.
    let header = serde_json::from_slice(&header)
        .map_err(|e| HeaderError::Malformed(format!("its header cannot be understood: {e}")))?;
    Ok((length, header))
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I16 => Element::I16,
        Dtype::I8 => Element::I8,
        Dtype::U64 => Element::U64,
        Dtype::U32 => Element::U32,
        Dtype::U16 => Element::U16,
        Dtype::U8 | Dtype::BOOL => Element::U8,
        _ => return None,
    })
}

/// What a file's numbers are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenAs {
    /// Four bytes each, exact.
    F32,
    /// Two bytes each, rounded to the nearest.
    F16,
}

impl WrittenAs {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F16 => size_of::<half::f16>(),
        }
    }
}

/// Writes tensors and text entries as a safetensors file, in f32. See [`write_safetensors_as`].
///
/// # Errors
/// As there.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, HostTensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorFileError> {
    write_safetensors_as(path, tensors, metadata, WrittenAs::F32)
}

/// Writes tensors and text entries as a safetensors file.
///
/// The same content gives the same bytes: tensors and entries are sorted by name. The file appears under its name only when
/// it is complete and on the disk; a failed write leaves what was there before.
///
/// # Errors
/// A tensor whose shape does not fit its values, and any failure to write (a full disk, a missing folder).
pub fn write_safetensors_as(
    path: &Path,
    tensors: &BTreeMap<String, HostTensor>,
    metadata: &BTreeMap<String, String>,
    written_as: WrittenAs,
) -> Result<(), TensorFileError> {
    let ill_shaped = tensors
        .iter()
        .find(|(_, t)| t.shape.iter().product::<usize>() != t.data.len());
    if let Some((name, tensor)) = ill_shaped {
        return Err(TensorFileError::Shape {
            path: path.to_owned(),
            tensor: name.clone(),
            shape: tensor.shape.clone(),
            values: tensor.data.len(),
        });
    }
    vlsm_image::fs::replace(path, |file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write_content(&mut out, tensors, metadata, written_as)?;
        out.flush()
    })
    .map_err(|source| TensorFileError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write_content(
    out: &mut impl Write,
    tensors: &BTreeMap<String, HostTensor>,
    metadata: &BTreeMap<String, String>,
    written_as: WrittenAs,
) -> io::Result<()> {
    // The `safetensors` crate writes metadata in the random order of a hash map, so the header is written here.
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        entries.push(format!(
            "\"__metadata__\":{}",
            serde_json::to_string(metadata)?
        ));
    }
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.data.len() * written_as.size();
        let (name, shape, dtype) = (json!(name), json!(tensor.shape), written_as.name());
        entries.push(format!(
            "{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}"
        ));
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(ALIGNMENT) - header.len()));

    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    const PIECE: usize = 1 << 14;
    let mut bytes = Vec::with_capacity(PIECE * size_of::<f32>());
    for piece in tensors.values().flat_map(|t| t.data.chunks(PIECE)) {
        bytes.clear();
        match written_as {
            WrittenAs::F32 => bytes.extend(piece.iter().flat_map(|v| v.to_le_bytes())),
            WrittenAs::F16 => {
                let halves = piece.iter().map(|v| half::f16::from_f32(*v));
                bytes.extend(halves.flat_map(half::f16::to_le_bytes));
            }
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full after some bytes.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter.safetensors");
        std::fs::write(&path, "old").unwrap();
        let tensors = BTreeMap::from([(
            "a".to_owned(),
            HostTensor {
                shape: vec![64],
                data: vec![1.0; 64],
            },
        )]);
        let source = vlsm_image::fs::replace(&path, |_| {
            write_content(
                &mut SmallDisk(100),
                &tensors,
                &BTreeMap::new(),
                WrittenAs::F32,
            )
        })
        .unwrap_err();
        let error = TensorFileError::Write {
            path: path.clone(),
            source,
        }
        .to_string();
        assert!(
            error.contains("adapter.safetensors") && error.contains("free some space"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
