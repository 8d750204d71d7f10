//! Files written by `torch.save`: state dicts (`pytorch_model.bin`) and Lightning checkpoints (`.ckpt`); and by
//! `torch.jit.save`.

use std::io::{self, BufReader};
use std::path::Path;

use pytorch_reader::{DType, PickleError, PytorchError, PytorchReader};
use vlsm_image::fs::open_regular;
use zip::ZipArchive;

use super::{Element, TensorFile, TensorFileError, expect_plausible, torchscript};

/// Where a Lightning checkpoint keeps the model's tensors.
const STATE_DICT: &str = "state_dict.";

/// An archive's pickle may have this many bytes, or as many as the archive.
const PICKLE: u64 = 1 << 18;

/// Reads a PyTorch file, in the zip format, the older pickle format or the oldest tar format.
///
/// A Lightning checkpoint, that is a dictionary with an entry `state_dict`, gives the tensors of that entry under their
/// names there; what else it holds (optimiser states, hyper-parameters of any Python class) is passed over and never run.
/// A TorchScript archive (OpenAI's CLIP models) gives the parameters and buffers of its module.
///
/// # Errors
/// A file that is unreadable, truncated, malformed, or holds no tensors; tensors of kinds that have no dense values
/// (sparse, quantised); and Python objects with tensors among their attributes, wherever in the file they are
/// (`torch.nn.Module`s excepted).
pub fn read_pytorch(path: &Path) -> Result<TensorFile, TensorFileError> {
    let malformed = |reason: String| TensorFileError::Malformed {
        path: path.to_owned(),
        reason,
    };
    expect_plausible_pickle(path).map_err(malformed)?;
    let opened = PytorchReader::new(path);
    if let Err(PytorchError::Pickle(PickleError::UnsupportedType(class))) = &opened
        && class.starts_with(torchscript::CLASS)
    {
        return torchscript::read_torchscript(path);
    }
    let reader = opened.map_err(|error| match error {
        PytorchError::Io(source) if !is_malformed(&source) => TensorFileError::Read {
            path: path.to_owned(),
            source,
        },
        PytorchError::Pickle(PickleError::UnsupportedType(class)) => {
            TensorFileError::PythonObject {
                path: path.to_owned(),
                class,
            }
        }
        other => malformed(other.to_string()),
    })?;
    let mut found: Vec<_> = reader.into_tensors().into_iter().collect();
    if found.iter().any(|(name, _)| name.starts_with(STATE_DICT)) {
        found = found
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(STATE_DICT)?.to_owned(), tensor)))
            .collect();
    }
    if found.is_empty() {
        return Err(malformed("it holds no tensors".to_owned()));
    }

    let sizes = found.iter().map(|(_, tensor)| {
        let size = element(tensor.dtype()).size();
        tensor.num_elements().saturating_mul(size)
    });
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    expect_plausible(sizes, length).map_err(malformed)?;

    let mut content = TensorFile::default();
    for (name, tensor) in found {
        let bytes = tensor
            .read()
            .map_err(|source| match is_malformed(&source) {
                true => malformed(source.to_string()),
                false => TensorFileError::Read {
                    path: path.to_owned(),
                    source,
                },
            })?;
        let values = element(tensor.dtype())
            .read(&mut bytes.as_slice(), tensor.num_elements())
            .map_err(|e| malformed(format!("tensor `{name}`: {e}")))?;
        content.insert(name, tensor.shape().to_vec(), values);
    }
    Ok(content)
}

/// Checks that a zip archive's pickle is not much larger than the archive. PyTorch does not compress pickles, and each of their bytes
/// can become a value of 88 bytes, so a small archive could fill the memory. The readers check that the size is true. Errors of
/// other kinds are left to them.
fn expect_plausible_pickle(path: &Path) -> Result<(), String> {
    let Ok(file) = open_regular(path) else {
        return Ok(());
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let Ok(mut archive) = ZipArchive::new(BufReader::new(file)) else {
        return Ok(());
    };
    for index in 0..archive.len() {
        let Ok(entry) = archive.by_index_raw(index) else {
            continue;
        };
        let size = entry.size();
        if size > length.max(PICKLE) && entry.name().is_ok_and(|name| name.ends_with("data.pkl")) {
            return Err(format!(
                "its pickle has {size} bytes, but the file only {length}"
            ));
        }
    }
    Ok(())
}

/// Whether an error speaks of the file's content, not of the operating system.
fn is_malformed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn element(dtype: DType) -> Element {
    match dtype {
        DType::F64 => Element::F64,
        DType::F32 => Element::F32,
        DType::F16 => Element::F16,
        DType::BF16 => Element::BF16,
        DType::I64 => Element::I64,
        DType::I32 => Element::I32,
        DType::I16 => Element::I16,
        DType::I8 => Element::I8,
        DType::U64 => Element::U64,
        DType::U32 => Element::U32,
        DType::U16 => Element::U16,
        DType::U8 | DType::Bool => Element::U8,
    }
}
