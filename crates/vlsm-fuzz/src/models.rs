//! Weights, configurations, vocabularies and adapters.

use std::io::{Cursor, Write};
use std::path::Path;

use vlsm_image::RgbImage;
use vlsm_models::tensor_file::{self, parse_safetensors};
use vlsm_models::{
    AdapterFile, Base, MethodConfig, Model, NetworkConfig, Preprocessing, Profile,
    SegmentationModel, Tokenizer, device,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::with_files;

/// Inputs of this side and below are run through the network; larger ones are correct but slow.
const LARGEST_SIDE: usize = 256;

macro_rules! fixture {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../", $path))
    };
}

const STATE_DICT: &[u8] = fixture!("crates/vlsm-models/tests/data/state_dict.bin");
const SCRIPT: &[u8] = fixture!("crates/vlsm-models/tests/data/torchscript.pt");
/// The vocabulary of a small BERT, which loads faster than CLIP's.
const VOCABULARY: &[u8] = fixture!("fixtures/biomedclipseg/tiny/tokenizer.json");
const CLIPSEG: &[u8] = fixture!("fixtures/clipseg/tiny_refined/model.safetensors");
const CLIPSEG_CONFIG: &[u8] = fixture!("fixtures/clipseg/tiny_refined/config.json");
const BIOMEDCLIP: &[u8] = fixture!("fixtures/biomedclipseg/tiny/open_clip_model.safetensors");
const CRIS: &[u8] = fixture!("fixtures/cris/model.safetensors");
const SAN: &[u8] = fixture!("fixtures/san/model.safetensors");

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) -> bool {
    parse_safetensors(bytes, Path::new("input")).is_ok()
}

/// A file of weights of any format.
pub fn torch(bytes: &[u8]) -> bool {
    with_files(&[("weights", bytes)], |folder| {
        let Ok(file) = tensor_file::read(&folder.join("weights")) else {
            return false;
        };
        for tensor in file.tensors.values() {
            assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len());
        }
        true
    })
}

/// The pickle of a `torch.save` archive.
pub fn checkpoint_pickle(bytes: &[u8]) -> bool {
    torch(&with_pickle(STATE_DICT, bytes, 0))
}

/// The pickle of a TorchScript archive.
pub fn script_pickle(bytes: &[u8]) -> bool {
    torch(&with_pickle(SCRIPT, bytes, 0))
}

/// A pickle that is stored compressed after many repetitions of an opcode. The first byte is the opcode, the second says whether the
/// archive is a TorchScript's. The number of repetitions is 2 to the power of the sum of all bytes modulo 28, minus 1, so that most
/// mutations change it.
pub fn large_pickle(bytes: &[u8]) -> bool {
    let Some((&[opcode, script, _], pickle)) = bytes.split_first_chunk() else {
        return false;
    };
    let archive = match script {
        0 => STATE_DICT,
        _ => SCRIPT,
    };
    let exponent = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 28;
    let filled = [&[opcode], pickle].concat();
    torch(&with_pickle(archive, &filled, (1 << exponent) - 1))
}

/// An archive with another pickle, so that the mutated pickle has a valid checksum. The pickle is compressed if its first byte is
/// repeated so many times.
fn with_pickle(archive: &[u8], pickle: &[u8], repetitions: usize) -> Vec<u8> {
    let copy = || {
        let mut archive = ZipArchive::new(Cursor::new(archive))?;
        let mut copy = ZipWriter::new(Cursor::new(Vec::new()));
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index)?;
            let name = entry.name()?.into_owned();
            if name.ends_with("/data.pkl") {
                let method = match repetitions {
                    0 => CompressionMethod::Stored,
                    _ => CompressionMethod::Deflated,
                };
                let options = SimpleFileOptions::default().compression_method(method);
                copy.start_file(name, options)?;
                let piece = [pickle.first().copied().unwrap_or_default(); 1 << 16];
                for start in (0..repetitions).step_by(piece.len()) {
                    copy.write_all(&piece[..piece.len().min(repetitions - start)])?;
                }
                copy.write_all(pickle)?;
            } else if !name.contains("/code/") {
                copy.raw_copy_file(entry)?;
            }
        }
        copy.finish()
    };
    let copy: zip::result::ZipResult<_> = copy();
    copy.expect("an archive in memory").into_inner()
}

/// `config.json`, or the `open_clip_config.json` of a BiomedCLIP.
pub fn config(bytes: &[u8]) -> bool {
    let open_clip = bytes.windows(9).any(|window| window == b"model_cfg");
    let name = match open_clip {
        true => "open_clip_config.json",
        false => "config.json",
    };
    with_files(&[(name, bytes)], |folder| {
        let Ok(config) = NetworkConfig::read(&folder.join(name)) else {
            return false;
        };
        let _ = config.preprocessing();
        for profile in [Profile::Paper, Profile::Default] {
            let _ = config.shape(profile);
        }
        true
    })
}

/// `preprocessor_config.json`.
pub fn preprocessor(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    Preprocessing::parse(text, Preprocessing::clip(224)).is_ok()
}

/// `tokenizer.json`, with a prompt.
pub fn tokenizer(bytes: &[u8]) -> bool {
    encodes(&[("tokenizer.json", bytes)])
}

/// `vocab.json` and `merges.txt`, with a null byte between them.
pub fn merges(bytes: &[u8]) -> bool {
    let middle = bytes.iter().position(|byte| *byte == 0);
    let (vocabulary, merges) = bytes.split_at(middle.unwrap_or(bytes.len()));
    encodes(&[
        ("vocab.json", vocabulary),
        ("merges.txt", merges.get(1..).unwrap_or_default()),
    ])
}

fn encodes(files: &[(&str, &[u8])]) -> bool {
    with_files(files, |folder| {
        let Ok(Some(tokenizer)) = Tokenizer::from_folder(folder) else {
            return false;
        };
        let ids = tokenizer.encode("one large, irregular polyp\u{e9} in the top left", 77);
        ids.is_ok_and(|ids| ids.len() <= 77)
    })
}

/// The configuration of a CLIPSeg.
pub fn base_clipseg(bytes: &[u8]) -> bool {
    base([("config.json", bytes), ("model.safetensors", CLIPSEG)])
}

/// The configuration of a BiomedCLIP with a CLIPSeg's decoder.
pub fn base_biomedclip(bytes: &[u8]) -> bool {
    base([
        ("open_clip_config.json", bytes),
        ("open_clip_model.safetensors", BIOMEDCLIP),
    ])
}

/// The configuration of a CRIS.
pub fn base_cris(bytes: &[u8]) -> bool {
    base([("config.json", bytes), ("model.safetensors", CRIS)])
}

/// The configuration of a SAN.
pub fn base_san(bytes: &[u8]) -> bool {
    base([("config.json", bytes), ("model.safetensors", SAN)])
}

/// The weights of a CLIPSeg.
pub fn weights(bytes: &[u8]) -> bool {
    base([
        ("config.json", CLIPSEG_CONFIG),
        ("model.safetensors", bytes),
    ])
}

/// Loads a base and runs it on an image and a prompt.
fn base([config, weights]: [(&str, &[u8]); 2]) -> bool {
    let files = [config, weights, ("tokenizer.json", VOCABULARY)];
    with_files(&files, |folder| {
        let name = folder.to_str().expect("a temporary folder's name");
        let device = device("cpu").expect("the CPU");
        let Ok(base) = Base::load(name, &device) else {
            return false;
        };
        let Ok(model) = Model::new(&base, MethodConfig::zero_shot(), 0) else {
            return false;
        };
        if base.preprocessing.image_size > LARGEST_SIDE {
            return true;
        }
        run(&base, &model.for_inference()).is_ok()
    })
}

fn run(base: &Base, model: &Model) -> vlsm_models::Result<()> {
    model.output_size(base.preprocessing.image_size)?;
    let image = RgbImage::filled(40, 30, [200, 30, 30]);
    let pixels = base.preprocessing.tensor(&[&image], &model.device())?;
    let tokens = model.tokens(&[[0, 1, 2]])?;
    let text = model.encode_text(&tokens)?;
    let logits = model.decode(&model.encode_image(pixels)?, text)?;
    assert_eq!(logits.dims()[0], 1);
    Ok(())
}

thread_local! {
    static BASE: Base = with_files(
        &[
            ("config.json", CLIPSEG_CONFIG),
            ("model.safetensors", CLIPSEG),
            ("tokenizer.json", VOCABULARY),
        ],
        |folder| {
            let name = folder.to_str().expect("a temporary folder's name");
            Base::load(name, &device("cpu").expect("the CPU")).expect("a fixture")
        },
    );
}

/// Calls `work` with a small CLIPSeg.
pub(crate) fn with_base<T>(work: impl FnOnce(&Base) -> T) -> T {
    BASE.with(work)
}

/// An adapter file, put on a base and merged into it.
pub fn adapter(bytes: &[u8]) -> bool {
    with_files(&[("adapter.safetensors", bytes)], |folder| {
        let Ok(adapter) = AdapterFile::read(&folder.join("adapter.safetensors")) else {
            return false;
        };
        with_base(|base| {
            let _ = base.merge(adapter.clone());
            Model::with_adapter(base, adapter).is_ok()
        })
    })
}
