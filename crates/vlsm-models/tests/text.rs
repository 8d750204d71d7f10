//! Tokenizer and tensor files against values made by other programs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vlsm_models::tensor_file::{
    Fingerprint, HostTensor, TensorFile, TensorFileError, fingerprint, read, read_pytorch,
    read_safetensors, write_safetensors,
};
use vlsm_models::tokenizer::{Tokenizer, TokenizerError};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The token fixture: outside the repository if it is there, else the committed copy.
fn token_fixture() -> Value {
    let outside = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/fixtures/text/clip_tokens.json"
    ));
    let committed = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/text/clip_tokens.json"
    ));
    json(if outside.is_file() {
        outside
    } else {
        committed
    })
}

fn data(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

#[test]
fn embedded_vocabulary_meets_the_fixture() {
    let fixture = token_fixture();
    let tokenizer = Tokenizer::embedded().unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 49408);
    assert_eq!(u64::from(tokenizer.start_id()), fixture["bos"]);
    assert_eq!(u64::from(tokenizer.end_id()), fixture["eos"]);
    let length = fixture["context_length"].as_u64().unwrap() as usize;
    let items = fixture["items"].as_array().unwrap();
    assert!(items.len() >= 210);
    for item in items {
        let text = item["text"].as_str().unwrap();
        let expected: Vec<u32> = serde_json::from_value(item["ids"].clone()).unwrap();
        assert_eq!(
            tokenizer.encode(text, length).unwrap(),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn a_cut_text_still_ends_with_the_end_token() {
    let tokenizer = Tokenizer::embedded().unwrap();
    let (start, end) = (tokenizer.start_id(), tokenizer.end_id());
    assert_eq!(tokenizer.encode("a b c", 3).unwrap(), [start, 320, end]);
    assert_eq!(tokenizer.encode("a", 3).unwrap(), [start, 320, end]);
    assert_eq!(tokenizer.encode("a", 1).unwrap(), [end]);
    assert_eq!(tokenizer.encode("a", 0).unwrap(), [0u32; 0]);
}

#[test]
fn without_cleaning_ids_are_those_of_hugging_face() {
    // Expected values by transformers 4.41.2, CLIPTokenizerFast.
    let tokenizer = Tokenizer::embedded().unwrap().with_cleaning(false);
    let (start, end) = (tokenizer.start_id(), tokenizer.end_id());
    assert_eq!(
        tokenizer.encode("“q” &amp;", 77).unwrap(),
        [start, 728, 506, 336, 728, 507, 261, 6259, 282, end]
    );
    assert_eq!(
        tokenizer.encode("<|endoftext|> b", 77).unwrap(),
        [start, end, 321, end]
    );
}

/// A folder with a tokenizer of a few tokens.
fn tiny_folder(vocabulary: &str, merges: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.json"), vocabulary).unwrap();
    fs::write(folder.path().join("merges.txt"), merges).unwrap();
    folder
}

const TINY: &str = r#"{"l": 0, "o": 1, "w</w>": 2, "lo": 3, "low</w>": 4, "<|startoftext|>": 5, "<|endoftext|>": 6, "!</w>": 7, "w": 8}"#;

#[test]
fn a_folders_vocabulary_is_used() {
    let folder = tiny_folder(TINY, "#version: 0.2\nl o\nlo w</w>\n");
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap().unwrap();
    assert_eq!(tokenizer.encode("LOW  low!", 77).unwrap(), [5, 4, 4, 7, 6]);
    assert_eq!(tokenizer.encode("lowlow", 77).unwrap(), [5, 3, 8, 4, 6]);

    let json = r#"{"version": "1.0", "truncation": null,
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 2, "pad_type_id": 0, "pad_token": "<|endoftext|>"},
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"cat": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, "unk_token": "cat"}}"#;
    fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap().unwrap();
    assert_eq!(tokenizer.encode("cat cat", 77).unwrap(), [1, 0, 0, 2]);
}

#[test]
fn a_faulty_tokenizer_folder_is_an_error_that_names_the_file() {
    let none = tempfile::tempdir().unwrap();
    assert!(Tokenizer::from_folder(none.path()).unwrap().is_none());

    let fails = |folder: &tempfile::TempDir, file: &str| {
        let error = Tokenizer::from_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        error
    };
    let no_end = tiny_folder(&TINY.replace("<|endoftext|>", "end"), "l o\n");
    assert!(matches!(
        fails(&no_end, "vocab.json"),
        TokenizerError::MissingToken { .. }
    ));
    fails(&tiny_folder("[1, 2]", ""), "vocab.json");
    fails(&tiny_folder(TINY, "l o\nlow\n"), "line 2");
    fails(&tiny_folder(TINY, "l z\n"), "merges.txt");
    let alone = tiny_folder(TINY, "");
    fs::remove_file(alone.path().join("merges.txt")).unwrap();
    fails(&alone, "merges.txt");
    // The second text makes the `tokenizers` crate panic.
    for text in [
        "{",
        r#"{"decoder": {"type": "WordPiece", "clean"WordPiece"}}"#,
    ] {
        fs::write(alone.path().join("tokenizer.json"), text).unwrap();
        fails(&alone, "tokenizer.json");
    }
}

/// Compares a file with the values that the script recorded, exactly.
fn assert_recorded(file: &TensorFile, expected: &Value) {
    let expected = expected.as_object().unwrap();
    assert_eq!(file.tensors.len() + file.ints.len(), expected.len());
    for (name, entry) in expected {
        let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).unwrap();
        let values: Vec<f64> = serde_json::from_value(entry["data"].clone()).unwrap();
        if entry["float"] == true {
            let values = values.iter().map(|&v| v as f32).collect();
            assert_eq!(
                file.tensors[name],
                HostTensor {
                    shape,
                    data: values
                },
                "{name}"
            );
        } else {
            let found = &file.ints[name];
            let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
            assert_eq!((&found.shape, &found.data), (&shape, &values), "{name}");
        }
    }
}

#[test]
fn pytorch_files_are_read_exactly() {
    let expected = json(&data("expected.json"));
    for (file, key) in [
        ("state_dict.bin", "state_dict"),
        ("state_dict_legacy.bin", "state_dict"),
        ("lightning.ckpt", "lightning"),
        ("lightning_legacy.ckpt", "lightning"),
    ] {
        assert_recorded(&read_pytorch(&data(file)).unwrap(), &expected[key]);
        assert_recorded(&read(&data(file)).unwrap(), &expected[key]);
    }
}

/// As OpenAI's CLIP models come: parameters and buffers of a module, a layer under two names among them.
#[test]
fn torchscript_archives_are_read_exactly() {
    let expected = json(&data("torchscript.json"));
    assert_recorded(&read_pytorch(&data("torchscript.pt")).unwrap(), &expected);
    assert_recorded(&read(&data("torchscript.pt")).unwrap(), &expected);
}

#[test]
fn an_object_with_tensors_inside_is_an_error_that_names_the_fix() {
    let error = read(&data("object_with_tensor.ckpt")).unwrap_err();
    assert!(
        matches!(error, TensorFileError::PythonObject { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("object_with_tensor.ckpt"),
        "{error}"
    );
    assert!(error.to_string().contains("torch.save"), "{error}");
}

#[test]
fn a_cut_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = BTreeMap::from([(
        "a".to_owned(),
        HostTensor {
            shape: vec![3],
            data: vec![1.0, 2.0, 3.0],
        },
    )]);
    let whole = folder.path().join("whole.safetensors");
    write_safetensors(&whole, &tensors, &BTreeMap::new()).unwrap();
    let sources = [
        whole,
        data("state_dict.bin"),
        data("state_dict_legacy.bin"),
        data("lightning.ckpt"),
        data("torchscript.pt"),
    ];
    for source in sources {
        let bytes = fs::read(&source).unwrap();
        for length in [0, 1, 7, 8, 9, 20, bytes.len() / 2, bytes.len() - 1] {
            let path = folder.path().join("cut.bin");
            fs::write(&path, &bytes[..length]).unwrap();
            let error = read(&path).unwrap_err();
            assert!(
                matches!(error, TensorFileError::Malformed { .. }),
                "{source:?} {length}: {error}"
            );
            assert!(error.to_string().contains("cut.bin"), "{error}");
        }
    }
    let error = read(&folder.path().join("none.bin")).unwrap_err();
    assert!(matches!(error, TensorFileError::Read { .. }), "{error}");
    let text = folder.path().join("text.bin");
    fs::write(&text, "version https://git-lfs.github.com/spec/v1").unwrap();
    assert!(matches!(
        read(&text),
        Err(TensorFileError::Malformed { .. })
    ));
}

#[test]
fn safetensors_are_written_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.safetensors");
    let tensors = BTreeMap::from([
        (
            "b.weight".to_owned(),
            HostTensor {
                shape: vec![2, 2],
                data: vec![1.0, -0.0, f32::MIN_POSITIVE, 4.5],
            },
        ),
        (
            "a \"q\"".to_owned(),
            HostTensor {
                shape: vec![],
                data: vec![7.0],
            },
        ),
        (
            "empty".to_owned(),
            HostTensor {
                shape: vec![0, 4],
                data: vec![],
            },
        ),
    ]);
    let metadata: BTreeMap<_, _> = (0..9)
        .map(|i| (format!("key{i}"), format!("väl\n\"{i}\"")))
        .collect();
    write_safetensors(&path, &tensors, &metadata).unwrap();
    let read_back = read(&path).unwrap();
    assert_eq!(
        (&read_back.tensors, &read_back.metadata),
        (&tensors, &metadata)
    );

    // Other programs read it too: the `safetensors` crate as a stranger.
    let bytes = fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(
        header.metadata().as_ref().unwrap()["key3"],
        metadata["key3"]
    );
    let view = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(view.tensor("b.weight").unwrap().shape(), [2, 2]);

    write_safetensors(&path, &tensors, &metadata).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        bytes,
        "the same content gives the same bytes"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    let nowhere = folder.path().join("no/such/folder.safetensors");
    let error = write_safetensors(&nowhere, &tensors, &metadata)
        .unwrap_err()
        .to_string();
    assert!(error.contains("create its folder"), "{error}");
    let ill = BTreeMap::from([(
        "x".to_owned(),
        HostTensor {
            shape: vec![3],
            data: vec![1.0],
        },
    )]);
    assert!(matches!(
        write_safetensors(&path, &ill, &metadata),
        Err(TensorFileError::Shape { .. })
    ));
}

#[test]
fn half_precision_and_integers_are_converted() {
    use safetensors::Dtype;
    use safetensors::tensor::{TensorView, serialize_to_file};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixed.safetensors");
    // 1.5 and -2 as f16 and as bf16; 3 as f64; 1 and -1 as i64; true and false.
    let half = [0x00, 0x3E, 0x00, 0xC0];
    let brain = [0xC0, 0x3F, 0x00, 0xC0];
    let ints: Vec<u8> = [1i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view =
        |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let double = 3f64.to_le_bytes();
    let tensors = [
        ("half", view(Dtype::F16, &[2], &half)),
        ("brain", view(Dtype::BF16, &[2], &brain)),
        ("double", view(Dtype::F64, &[], &double)),
        ("ids", view(Dtype::I64, &[1, 2], &ints)),
        ("mask", view(Dtype::BOOL, &[2], &[1, 0])),
    ];
    serialize_to_file(tensors, None, &path).unwrap();
    let file = read_safetensors(&path).unwrap();
    assert_eq!(file.tensors["half"].data, [1.5, -2.0]);
    assert_eq!(file.tensors["brain"].data, [1.5, -2.0]);
    assert_eq!(
        file.tensors["double"],
        HostTensor {
            shape: vec![],
            data: vec![3.0]
        }
    );
    assert_eq!(file.ints["ids"].data, [1, -1]);
    assert_eq!(file.ints["mask"].data, [1, 0]);

    serialize_to_file([("f8", view(Dtype::F8_E4M3, &[1], &[1]))], None, &path).unwrap();
    let error = read_safetensors(&path).unwrap_err().to_string();
    assert!(
        error.contains("`f8`") && error.contains("mixed.safetensors"),
        "{error}"
    );
}

#[test]
fn fingerprints_tell_weights_apart() {
    let values: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
    let (shape, turned) = ([100, 100], [10_000]);
    let base = fingerprint([("a", &shape[..], &values[..]), ("b", &[][..], &[1.0][..])]);
    assert_eq!(base.len(), 32);
    assert_eq!(
        fingerprint([("b", &[][..], &[1.0][..]), ("a", &shape[..], &values[..])]),
        base,
        "order"
    );
    let mut gathered = Fingerprint::new();
    gathered.add("a", &shape, &values);
    gathered.add("b", &[], &[1.0]);
    assert_eq!(gathered.finish(), base);
    let mut changed = values.clone();
    changed[9_999] = 0.0;
    for other in [
        fingerprint([("a", &shape[..], &changed[..]), ("b", &[][..], &[1.0][..])]),
        fingerprint([("a", &turned[..], &values[..]), ("b", &[][..], &[1.0][..])]),
        fingerprint([("c", &shape[..], &values[..]), ("b", &[][..], &[1.0][..])]),
        fingerprint([("a", &shape[..], &values[..])]),
    ] {
        assert_ne!(other, base);
    }
}
