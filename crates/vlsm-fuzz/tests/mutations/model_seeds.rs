//! Weights, configurations, adapters, and files of training.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

use vlsm_models::AdapterFile;
use vlsm_models::tensor_file::HostTensor;
use vlsm_train::Identity;
use vlsm_train::checkpoint::{Checkpoint, Progress, Throughput};

use crate::seeds::{Seeds, file, texts};

/// What `write` writes to a file.
fn written(write: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path);
    std::fs::read(path).unwrap()
}

/// A safetensors file.
fn tensors(header: &str, length: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend((0..length).map(|byte| byte as u8));
    bytes
}

pub(crate) fn safetensors() -> Seeds {
    vec![
        tensors(
            r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"F16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}"#,
            40,
        ),
        tensors(
            r#"{"a":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},"b":{"dtype":"BOOL","shape":[3],"data_offsets":[2,5]},"c":{"dtype":"F64","shape":[0],"data_offsets":[5,5]}}"#,
            5,
        ),
    ]
}

const WEIGHTS: [&str; 5] = [
    "state_dict.bin",
    "state_dict_legacy.bin",
    "lightning.ckpt",
    "lightning_legacy.ckpt",
    "torchscript.pt",
];

fn weights_file(name: &str) -> Vec<u8> {
    file(&format!("crates/vlsm-models/tests/data/{name}"))
}

pub(crate) fn torch() -> Seeds {
    let mut seeds: Seeds = WEIGHTS.map(weights_file).into();
    seeds.extend(safetensors());
    seeds
}

fn pickle(archive: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(weights_file(archive))).unwrap();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().to_string())
        .collect();
    let name = names
        .iter()
        .find(|name| name.ends_with("/data.pkl"))
        .unwrap();
    let mut bytes = Vec::new();
    archive
        .by_name(name)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

pub(crate) fn checkpoint_pickle() -> Seeds {
    vec![pickle("state_dict.bin")]
}

pub(crate) fn script_pickle() -> Seeds {
    vec![pickle("torchscript.pt")]
}

/// With 2^10 repetitions of an opcode that puts `None` on the stack, by the choice of the third byte.
pub(crate) fn large_pickle() -> Seeds {
    let filled = |script: u8, pickle: Vec<u8>| {
        let mut bytes = [&[b'N', script, 0], &*pickle].concat();
        let sum: usize = bytes.iter().map(|byte| usize::from(*byte)).sum();
        bytes[2] = ((38 - sum % 28) % 28) as u8;
        bytes
    };
    vec![
        filled(0, pickle("state_dict.bin")),
        filled(1, pickle("torchscript.pt")),
    ]
}

const CLIPSEG: &str = "fixtures/clipseg/tiny_refined";

pub(crate) fn base_clipseg() -> Seeds {
    vec![file(&format!("{CLIPSEG}/config.json"))]
}

pub(crate) fn base_biomedclip() -> Seeds {
    vec![file("fixtures/biomedclipseg/tiny/open_clip_config.json")]
}

pub(crate) fn base_cris() -> Seeds {
    vec![file("fixtures/cris/config.json")]
}

pub(crate) fn base_san() -> Seeds {
    vec![file("fixtures/san/config.json")]
}

pub(crate) fn config() -> Seeds {
    [base_clipseg(), base_biomedclip(), base_cris(), base_san()].concat()
}

pub(crate) fn weights() -> Seeds {
    vec![file(&format!("{CLIPSEG}/model.safetensors"))]
}

pub(crate) fn preprocessor() -> Seeds {
    let builtin = file("crates/vlsm-models/builtin/tiny/preprocessor_config.json");
    let mut seeds = texts(&[r#"{"size":352,"image_mean":[0.5,0.5,0.5]}"#]);
    seeds.push(builtin);
    seeds
}

pub(crate) fn tokenizer() -> Seeds {
    vec![
        file("fixtures/biomedclipseg/tiny/tokenizer.json"),
        byte_pairs().into_bytes(),
    ]
}

/// A CLIP's `tokenizer.json` in small.
fn byte_pairs() -> String {
    r#"{"version":"1.0","truncation":null,"padding":null,
    "added_tokens":[{"id":8,"content":"<|startoftext|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":true},{"id":9,"content":"<|endoftext|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
    "normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Replace","pattern":{"Regex":"\\s+"},"content":" "},{"type":"Lowercase"}]},
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"'s|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"},"behavior":"Removed","invert":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
    "post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
    "model":{"type":"BPE","dropout":null,"unk_token":"<|endoftext|>","continuing_subword_prefix":"","end_of_word_suffix":"</w>","fuse_unk":false,"byte_fallback":false,
    "vocab":{"o":0,"n":1,"e":2,"e</w>":3,"on":4,"one</w>":5,"p":6,"p</w>":7,"<|startoftext|>":8,"<|endoftext|>":9},"merges":["o n","on e</w>"]}}"#
        .to_owned()
}

pub(crate) fn merges() -> Seeds {
    texts(&[
        "{\"o\":0,\"n\":1,\"e\":2,\"e</w>\":3,\"on\":4,\"one</w>\":5,\"p\":6,\"p</w>\":7,\"<|startoftext|>\":8,\"<|endoftext|>\":9}\0\
         #version: 0.2\no n\non e</w>\n",
    ])
}

pub(crate) fn adapter() -> Seeds {
    let bare = ["dense_v", "dense_vl", "shallow_v"];
    let path = |name: &str| format!("{CLIPSEG}/{name}.init.safetensors");
    let mut seeds: Seeds = bare.iter().map(|name| file(&path(name))).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let adapter = AdapterFile::read(&root.join(path("dense_v"))).unwrap();
    seeds.push(written(|path| adapter.write(path).unwrap()));
    seeds
}

pub(crate) fn recipe() -> Seeds {
    let mut seeds = vec![file("recipes/base_scenes.toml")];
    seeds.extend(texts(&[r#"
[model]
base = "builtin:tiny"
image_size = 168
[method]
kind = "dense"
profile = "default"
towers = "vlc"
bottleneck = 64
[data]
root = "builtin:endoscopy"
prompt = "p6"
generate = { train = 64, val = 8, test = 8 }
split = { val = 0.1, test = 0.2, seed = 7 }
[optim]
lr = 1e-3
[trainer]
epochs = 2
batch_size = 8
seed = 42
[cache]
features = "off"
"#]));
    seeds
}

pub(crate) fn study() -> Seeds {
    texts(&[r#"
seeds = [41, 42]
prompts = ["random", "p1"]
[recipe.optim]
lr = 1e-4
[[model]]
name = "tiny"
model.base = "builtin:tiny"
[[method]]
name = "zero-shot"
method.kind = "zero-shot"
[[method]]
name = "dense"
title = "dense adapters"
models = ["tiny"]
method.kind = "dense"
optim.lr = 1e-3
[[data]]
name = "kvasir"
data.root = "data/kvasir_polyp"
data.split = { folds = 3, fold = [1, 2, 3] }
"#])
}

pub(crate) fn checkpoint() -> Seeds {
    let tensor = HostTensor {
        shape: vec![2, 2],
        data: vec![0.5; 4],
    };
    let checkpoint = Checkpoint {
        identity: Identity {
            base: "builtin:tiny".to_owned(),
            base_fingerprint: "0123".to_owned(),
            image_size: 168,
            samples: [4, 1, 1],
            samples_digest: "4567".to_owned(),
        },
        progress: Progress::default(),
        throughput: Throughput::default(),
        parameters: BTreeMap::from([("a.weight".to_owned(), tensor.clone())]),
        moments: BTreeMap::from([("m.a.weight".to_owned(), tensor)]),
        moment_steps: 3,
    };
    vec![written(|path| checkpoint.write(path).unwrap())]
}

pub(crate) fn scores() -> Seeds {
    texts(&[
        "sample,group,subject,prompt_set,oracle,prompt,dice,iou,hd95,one_empty\na/1,,images/a.png,p6,unknown,\"one \"\"red\"\" \
         polyp\",0.5,0.3333333333333333,1.5,false\nb,g,b,p1,yes,polyp,1,1,0,true\n",
    ])
}

pub(crate) fn metrics() -> Seeds {
    texts(&[r#"{"step":1,"loss":2.0,"lr":0.1,"grad_norm":1.0}
{"step":2,"loss":1.0,"lr":0.05,"grad_norm":1.0}
{"epoch":1,"step":2,"train_loss":1.5,"val_loss":1.2,"val_dice":0.4,"lr":0.05,"seconds":3.5}
{"epoch":2,"step":3,"train_loss":1.1,"lr":0.05}
"#])
}

pub(crate) fn summary() -> Seeds {
    texts(&[
        r#"{"base":"builtin:tiny","identity":{"samples":[4,1,1]},"epochs":2,"best_val_dice":0.4,"test":{"samples":1,"dice":{"mean":0.5}},
"trainable_parameters":225345,"total_parameters":4700000,"epoch_seconds":[1.5,1.25],"peak_memory_bytes":null,"seconds":3.5}"#,
    ])
}

pub(crate) fn features() -> Seeds {
    vec![vlsm_fuzz::valid_features()]
}
