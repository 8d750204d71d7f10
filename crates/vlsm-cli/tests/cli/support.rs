//! A folder with a small base and a small data set, and the program to run in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vlsm::image::{Mask, RgbImage, write_png_mask, write_png_rgb};

/// A CLIPSeg with CLIP's vocabulary, small enough for steps of milliseconds.
pub(crate) const CONFIG: &str = r#"{
    "model_type": "clipseg", "projection_dim": 16, "reduce_dim": 16, "extract_layers": [0, 1, 2],
    "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32,
    "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3,
                    "num_attention_heads": 2, "pad_token_id": 49407},
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
                      "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
}"#;

/// Width and height of the generated images.
pub(crate) const SIZE: (usize, usize) = (44, 36);

/// Samples of the splits.
pub(crate) const SPLITS: [(&str, usize); 3] = [("train", 24), ("val", 6), ("test", 5)];

/// The arguments of a training of `recipe.toml` in the folder `run`, with overrides.
pub(crate) fn train_args<'a>(run: &'a str, set: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "recipe.toml", "--out", run];
    arguments.extend(set.iter().flat_map(|setting| ["--set", setting]));
    arguments
}

/// A folder to work in; it is removed when this is dropped.
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    /// With a base in `base/`, a data set in `data/` and the recipe of a short training in
    /// `recipe.toml`.
    pub(crate) fn new() -> Self {
        // Made once for all tests of the process.
        static FILES: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
        let files = FILES.get_or_init(|| {
            let shop = Self::empty();
            shop.write("config.json", CONFIG);
            shop.make_base("base", 1);
            shop.make_data();
            shop.write("recipe.toml", RECIPE);
            files(shop.folder.path())
        });
        let shop = Self::empty();
        for (name, content) in files {
            shop.write(name.to_str().unwrap(), content);
        }
        shop
    }

    fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The folder, which is removed when it is dropped.
    pub(crate) fn into_folder(self) -> tempfile::TempDir {
        self.folder
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// The content of a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The content of a JSON file.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// The lines of a run's `metrics.jsonl`.
    pub(crate) fn metrics(&self, run: &str) -> Vec<Value> {
        let text = String::from_utf8(self.read(&format!("{run}/metrics.jsonl"))).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The number of lines of a file that may not exist yet.
    pub(crate) fn lines(&self, name: &str) -> usize {
        let text = std::fs::read_to_string(self.path(name));
        text.map_or(0, |text| text.lines().count())
    }

    /// The names in a folder, sorted, temporary files included.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The program, to be run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vlsm"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("VLSM_CACHE", self.path("cache"));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program, which must succeed, and returns its output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program, which must succeed, and returns what it says on standard error.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Asserts that two runs have the same metrics and adapters, byte for byte.
    pub(crate) fn assert_same_results(&self, a: &str, b: &str) {
        for file in [
            "metrics.jsonl",
            "adapter.safetensors",
            "adapter_last.safetensors",
        ] {
            let same = self.read(&format!("{a}/{file}")) == self.read(&format!("{b}/{file}"));
            assert!(same, "{file} of `{a}` differs from that of `{b}`");
        }
    }

    /// Runs the program with `--json`, which must succeed, and returns its output.
    pub(crate) fn ok_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Starts the program and kills it as soon as `ready` returns true, before the program ends.
    ///
    /// On a loaded machine the program may end before this process notices; `reset` then removes
    /// what the program wrote, and the program is started again.
    pub(crate) fn kill_when(&self, arguments: &[&str], ready: impl Fn() -> bool, reset: impl Fn()) {
        for _ in 0..20 {
            let mut child = self.command(arguments);
            let mut child = child
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if killed(&mut child, &ready) {
                return;
            }
            reset();
        }
        panic!("{arguments:?} always ended before it could be killed");
    }

    /// Runs the program, which must fail with exit code 1 and an error, and returns the error.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("error: "), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        error
    }

    /// Makes a base of [`CONFIG`].
    pub(crate) fn make_base(&self, name: &str, seed: u64) {
        let seed = seed.to_string();
        self.ok(&[
            "model",
            "init",
            "--config",
            "config.json",
            "--seed",
            &seed,
            "-o",
            name,
        ]);
    }

    /// Bright discs on noise, in the published format.
    fn make_data(&self) {
        let mut noise = Noise(7);
        for folder in ["images", "masks", "anns"] {
            std::fs::create_dir_all(self.path("data").join(folder)).unwrap();
        }
        for (split, count) in SPLITS {
            let entries: Vec<Value> = (0..count)
                .map(|index| {
                    let name = format!("{split}{index}.png");
                    let (image, mask) = disc(&mut noise);
                    write_png_rgb(&self.path("data/images").join(&name), &image).unwrap();
                    write_png_mask(&self.path("data/masks").join(&name), &mask).unwrap();
                    json!({
                        "bbox": [[0, 0, 1, 1]],
                        "img_name": name,
                        "mask_name": name,
                        "prompts": {
                            "p0": "",
                            "p1": "disc",
                            "p2": ["bright disc", "white disc"],
                            "p6": "one bright disc on noise",
                        },
                    })
                })
                .collect();
            let annotations = serde_json::to_string(&entries).unwrap();
            self.write(&format!("data/anns/{split}.json"), annotations);
        }
    }
}

const RECIPE: &str = r#"
[model]
base = "base"
[method]
kind = "full"
[data]
root = "data"
[optim]
lr = 3e-3
schedule = "constant"
[trainer]
epochs = 4
batch_size = 2
eval_batch_size = 3
"#;

/// A small generator of numbers (Knuth's MMIX constants); the same on every machine.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// An image with a bright disc, and the disc's mask.
fn disc(noise: &mut Noise) -> (RgbImage, Mask) {
    let (width, height) = SIZE;
    let radius = 7 + noise.below(5);
    let x0 = radius + noise.below(width - 2 * radius);
    let y0 = radius + noise.below(height - 2 * radius);
    let mut image = Vec::new();
    let mut mask = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let inside = x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) <= radius * radius;
            let level = if inside { 200 } else { 20 };
            image.extend((0..3).map(|_| level + noise.below(40) as u8));
            mask.push(u8::from(inside));
        }
    }
    (
        RgbImage::new(width, height, image).unwrap(),
        Mask::new(width, height, mask).unwrap(),
    )
}

/// Kills a process as soon as `ready` returns true. Returns false if the process ended by itself.
fn killed(child: &mut Child, ready: &impl Fn() -> bool) -> bool {
    // Long enough for any machine; only a hanging program reaches it.
    let limit = Instant::now() + Duration::from_secs(900);
    while !ready() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < limit, "no progress");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A process that has ended cannot be killed, and is then not counted as killed.
    let _ = child.kill();
    !child.wait().unwrap().success()
}

/// The files below a folder, with their paths in it.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
    }
    files
}

/// Folders of CLIPSegs with reference outputs of the published code: those next to the repository if
/// there are any, else the committed one.
pub(crate) fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = root.join("../shared/fixtures/clipseg");
    let names: &[&str] = &["tiny", "tiny_refined"];
    if shared.is_dir() {
        names.iter().map(|name| shared.join(name)).collect()
    } else {
        vec![root.join("fixtures/clipseg/tiny_refined")]
    }
}
