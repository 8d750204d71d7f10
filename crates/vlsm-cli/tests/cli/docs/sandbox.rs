//! The files that commands of the documents run on, and the commands that cannot run here.
//!
//! A command runs as it is written, except that [`STAND_INS`] replace a reader's files and [`EXTRA`]
//! arguments are appended.

use std::path::{Path, PathBuf};

use vlsm::image::write_png_gray;

use crate::prepare::make_busi;
use crate::semantic::make_streets;
use crate::support::{SIZE, Workshop, train_args};

/// A base on the hub; in the shipped recipes and studies it is replaced too.
const HUB_BASE: &str = "CIDAS/clipseg-rd64-refined";

/// A CLIP on the hub; a CLIPSeg holds one.
const HUB_CLIP: &str = "openai/clip-vit-base-patch16";

/// Names in the documents and their stand-ins, replaced in this order.
pub(super) const STAND_INS: &[(&str, &str)] = &[
    (HUB_BASE, "base"),
    (HUB_CLIP, "base"),
    ("PATH/Dataset_BUSI_with_GT", "download/Dataset_BUSI_with_GT"),
    ("PATH/camvid", "streets"),
    ("PATH/foot_ulcer", "scans"),
    ("PATH/kvasir_polyp", "data"),
    ("PATH/scans", "scans"),
    ("PATH/street", "drawn"),
    ("RECIPE.toml", "recipe.toml"),
    ("RUN", "runs/labels"),
    ("STUDY.toml", "study.toml"),
    ("BASE", "own_base"),
];

/// Arguments that make commands short, for those that start with the first words.
pub(super) const EXTRA: &[(&str, &[&str])] = &[
    ("vlsm train", SHORT_TRAINING),
    ("vlsm train --data", &["--base", "base"]),
    (
        "vlsm study --data",
        &["--base", "base", "--set", "recipe.trainer.max_steps=1"],
    ),
    ("vlsm study studies/", &["--dry-run"]),
    ("vlsm segments train", SHORT_STAGES),
];

/// The streets have other classes than CamVid, and the small base three layers.
const SHORT_STAGES: &[&str] = &[
    "--set",
    "data.root=streets",
    "--set",
    "negatives=negatives.json",
    "--set",
    "novel=[\"sign\"]",
    "--set",
    "stage1.method.depth=2",
    "--set",
    "stage2.method.depth=2",
];

const SHORT_TRAINING: &[&str] = &[
    "--set",
    "model.image_size=48",
    "--set",
    "trainer.max_steps=1",
];

/// Starts of commands that do not run here, and why.
pub(super) const NOT_RUN: &[(&str, &str)] = &[
    ("cargo build", "builds the workspace again"),
    ("cargo install", "builds the workspace again"),
    ("cargo test", "would run this test again"),
    ("cargo xtask bench", "takes minutes and needs PyTorch"),
    ("python", "needs PyTorch"),
    ("vlsm demo", "takes a minute; tests/cli/demo.rs runs it"),
    (
        "vlsm model export RUN --peft",
        "needs a run with LoRA; tests/cli/export.rs exports one",
    ),
    (
        "vlsm refer",
        "needs a language model; tests/cli/refer.rs runs it with a stand-in",
    ),
    (
        "vlsm model import",
        "needs a checkpoint of the base; tests/cli/model.rs imports one",
    ),
    (
        "vlsm data generate scenes --classes --seed",
        "draws thousands of images",
    ),
    (
        "vlsm data generate street --classes --seed",
        "draws thousands of images",
    ),
    (
        "vlsm segments train recipes/opendas_tiny_clip.toml",
        "takes minutes; tests/cli/segments.rs trains and merges a small CLIP",
    ),
    ("vlsm model merge runs/tiny_clip", "needs that run"),
    (
        "vlsm segments eval --base bases/tiny_clip",
        "needs that CLIP",
    ),
];

/// A folder to run commands in.
pub(super) struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// With all stand-ins.
    pub(super) fn new() -> Self {
        let shop = Workshop::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for folder in ["recipes", "studies"] {
            copy(&root.join(folder), &shop.path(folder));
            for name in shop.names(folder) {
                let path = format!("{folder}/{name}");
                let text = String::from_utf8(shop.read(&path)).unwrap();
                shop.write(
                    &path,
                    text.replace(HUB_BASE, "base").replace(HUB_CLIP, "base"),
                );
            }
        }
        copy(&shop.path("data"), &shop.path("scans"));
        make_busi(&shop);
        make_streets(&shop);
        shop.write(
            "classes.json",
            r#"{"classes": ["road", "sky", "car", "sign"]}"#,
        );
        for photo in ["photo.jpg", "street.jpg"] {
            shop.write(photo, shop.read("data/images/test0.png"));
        }
        shop.write("negatives.json", r#"{"car": ["toy car"]}"#);
        let mut ids = vec![0; SIZE.0 * SIZE.1];
        ids[..SIZE.0].fill(1);
        write_png_gray(&shop.path("parts.png"), SIZE.0, SIZE.1, &ids).unwrap();
        shop.write("study.toml", STUDY);
        shop.make_base("own_base", 2);
        let train = train_args("runs/labels", &["data.root=streets"]);
        shop.ok(&[&train[..], SHORT_TRAINING].concat());
        Self {
            folder: shop.into_folder(),
        }
    }

    /// A copy, for the commands of one document.
    pub(super) fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.path(), folder.path());
        Self { folder }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the output of an earlier command, so that this one can write there.
    pub(super) fn remove_output(&self, arguments: &[String]) {
        if arguments.iter().any(|argument| argument == "--resume") {
            return;
        }
        let out = arguments
            .iter()
            .position(|word| word == "-o" || word == "--output");
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let out = match (out, &words[..]) {
            (Some(index), words) => words.get(index + 1).map(PathBuf::from),
            (None, ["train", recipe, ..] | ["segments", "train", recipe, ..]) => {
                let name = Path::new(recipe).file_stem().unwrap_or_default();
                Some(Path::new("runs").join(name))
            }
            (None, ["data", "prompts", root, ..]) => Some(Path::new(root).join("anns")),
            _ => None,
        };
        if let Some(out) = out {
            let _ = std::fs::remove_dir_all(self.path().join(out));
        }
    }
}

/// A study with the names of the example in the documents.
const STUDY: &str = r#"
seeds = [41]

[recipe.trainer]
max_steps = 1

[[model]]
name = "clipseg"
model.base = "base"

[[method]]
name = "zero-shot"
method.kind = "zero-shot"

[[method]]
name = "dense"
method.kind = "dense"

[[data]]
name = "kvasir"
data.root = "data"
"#;

/// Copies a folder with its content.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
