//! TorchScript archives (`torch.jit.save`), such as OpenAI's CLIP models.
//!
//! They are zip archives as `torch.save` writes them, but their pickle holds the module itself: an object of a generated
//! class for each submodule, whose attributes are parameters, buffers, plain values and submodules. No class is needed to
//! find the tensors, whose names are the paths of attributes. Only what PyTorch's own writer uses of pickle is understood.

mod pickle;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use self::pickle::{Pickle, Value};
use super::{Element, TensorFile, TensorFileError, Values, expect_plausible};

/// How the names of generated classes start.
pub(super) const CLASS: &str = "__torch__";

/// More bytes of names than any model has. A pickle can repeat what it holds, so a file of a few bytes could have any number.
const MOST_NAMES: usize = 64 << 20;

/// Bytes that each attribute counts in addition to its name.
const ATTRIBUTE: usize = 64;

/// The largest pickle that is read, as for other PyTorch files.
const LARGEST_PICKLE: u64 = 100 << 20;

type Archive = ZipArchive<BufReader<File>>;

/// Why a file is malformed.
type Fault = String;

/// Reads all parameters and buffers of a TorchScript archive under the names of its state dict.
///
/// # Errors
/// A file that is unreadable, truncated, malformed, or holds no tensors.
pub(super) fn read_torchscript(path: &Path) -> Result<TensorFile, TensorFileError> {
    let malformed = |reason: String| TensorFileError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(|source| TensorFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let content = ZipArchive::new(BufReader::new(file))
        .map_err(|error| error.to_string())
        .and_then(|mut archive| tensors(&mut archive, length))
        .map_err(malformed)?;
    if content.tensors.is_empty() {
        return Err(malformed("it holds no tensors".to_owned()));
    }
    Ok(content)
}

fn tensors(archive: &mut Archive, file_length: u64) -> Result<TensorFile, Fault> {
    let names = archive.file_names().collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| error.to_string())?;
    let roots = names
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots
        .min_by_key(|root| root.len())
        .ok_or("it has no data.pkl")?
        .to_owned();
    let pickle = entry(archive, &format!("{root}data.pkl"), LARGEST_PICKLE)?;
    let mut found = Found::default();
    found.collect(&Pickle::new(&pickle).run()?, "")?;
    let sizes = found.tensors.values().map(Stored::bytes);
    expect_plausible(sizes, file_length)?;
    let mut content = TensorFile::default();
    for (name, tensor) in found.tensors {
        let wrong = |error: Fault| format!("tensor `{name}`: {error}");
        let values = tensor.read(archive, &root).map_err(wrong)?;
        content.insert(name, tensor.shape.clone(), values);
    }
    Ok(content)
}

/// The bytes of an entry, no more than `most`.
fn entry(archive: &mut Archive, name: &str, most: u64) -> Result<Vec<u8>, Fault> {
    let entry = archive
        .by_name(name)
        .map_err(|error| format!("`{name}`: {error}"))?;
    let mut bytes = Vec::new();
    entry
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("`{name}`: {error}"))?;
    Ok(bytes)
}

/// The tensors of a module and its submodules, by path.
#[derive(Default)]
struct Found {
    tensors: BTreeMap<String, Stored>,
    /// Bytes of all names so far.
    names: usize,
}

impl Found {
    fn collect(&mut self, value: &Value, path: &str) -> Result<(), Fault> {
        match value {
            Value::Tensor(tensor) => drop(self.tensors.insert(path.to_owned(), (**tensor).clone())),
            Value::Object(attributes, _) => {
                for (name, value) in attributes.iter() {
                    self.names += path.len() + name.len() + ATTRIBUTE;
                    if self.names > MOST_NAMES {
                        return Err("it has too many attributes".to_owned());
                    }
                    let dot = if path.is_empty() { "" } else { "." };
                    self.collect(value, &format!("{path}{dot}{name}"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A tensor as the pickle describes it.
#[derive(Debug, Clone)]
struct Stored {
    /// The storage's entry below `data/`.
    key: String,
    element: Element,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Stored {
    /// From the arguments of PyTorch's `_rebuild_tensor_v2`: storage, offset, shape, strides.
    fn new(arguments: &[Value]) -> Option<Self> {
        let [Value::Storage(key, element), offset, shape, strides, ..] = arguments else {
            return None;
        };
        let shape = shape.integers()?;
        let strides = strides.integers()?;
        (shape.len() == strides.len()).then_some(Self {
            key: key.to_string(),
            element: *element,
            offset: offset.integer()?,
            shape,
            strides,
        })
    }

    /// Bytes of the elements.
    fn bytes(&self) -> usize {
        let count = self.shape.iter().copied().reduce(usize::saturating_mul);
        count.unwrap_or(1).saturating_mul(self.element.size())
    }

    fn read(&self, archive: &mut Archive, root: &str) -> Result<Values, Fault> {
        let overflow = || "its extents are no tensor's".to_owned();
        let mut count = 1usize;
        // One after the last element's index in the storage.
        let mut end = self.offset;
        for (extent, stride) in self.shape.iter().zip(&self.strides) {
            count = count.checked_mul(*extent).ok_or_else(overflow)?;
            let reach = extent.saturating_sub(1).checked_mul(*stride);
            end = end
                .checked_add(reach.ok_or_else(overflow)?)
                .ok_or_else(overflow)?;
        }
        end = end.checked_add(1).ok_or_else(overflow)?;
        if count == 0 {
            end = 0;
        }
        let size = self.element.size();
        let bytes = end.checked_mul(size).ok_or_else(overflow)?;
        let storage = entry(archive, &format!("{root}data/{}", self.key), bytes as u64)?;
        if storage.len() < bytes {
            return Err("its storage is too short".to_owned());
        }
        let whole = self.element.read(&mut storage.as_slice(), end);
        // A view may repeat elements, but no weight does: a small file stays small.
        if count > end {
            return Err(overflow());
        }
        Ok(match whole.map_err(|error| error.to_string())? {
            Values::Float(data, finite) => Values::Float(self.gather(&data, count), finite),
            Values::Int(data) => Values::Int(self.gather(&data, count)),
        })
    }

    /// The elements in order, from a storage.
    fn gather<T: Copy>(&self, storage: &[T], count: usize) -> Vec<T> {
        let place = |mut index: usize| {
            let axes = self.shape.iter().zip(&self.strides).rev();
            axes.fold(self.offset, |place, (extent, stride)| {
                let along = index % extent;
                index /= extent;
                place + along * stride
            })
        };
        (0..count).map(|index| storage[place(index)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry `name`: the value stored at `index`.
    fn entry_of(name: u8, index: u8) -> Vec<u8> {
        vec![b'X', 1, 0, 0, 0, name, b'h', index, b's']
    }

    fn refusal(pickle: &[u8]) -> String {
        let value = match Pickle::new(pickle).run() {
            Ok(value) => value,
            Err(fault) => return fault,
        };
        Found::default().collect(&value, "").unwrap_err()
    }

    #[test]
    fn deep_nesting_is_refused_before_it_overflows_the_stack() {
        let mut tuples = vec![b')'];
        tuples.extend([0x85].repeat(1 << 20));
        tuples.push(b'.');
        assert!(refusal(&tuples).contains("nested too deep"));
    }

    #[test]
    fn objects_that_share_parts_are_not_visited_without_end() {
        let mut pickle = b"}q\x00".to_vec();
        for level in 1..60 {
            pickle.push(b'}');
            pickle.extend(entry_of(b'a', level - 1));
            pickle.extend(entry_of(b'b', level - 1));
            pickle.extend([b'q', level]);
        }
        pickle.push(b'.');
        assert!(refusal(&pickle).contains("too many attributes"));
    }

    #[test]
    fn a_dictionary_is_not_copied_for_every_entry() {
        let mut pickle = b"}".to_vec();
        pickle.extend(b"q\x00X\x01\x00\x00\x00aNs".repeat(10_000));
        pickle.push(b'.');
        assert!(refusal(&pickle).contains("copies too much"));
    }
}
