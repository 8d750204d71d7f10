//! Kills trainings, studies and the commands that write data sets, runs them again, and compares the results with those of unbroken
//! ones.
//!
//! `strace` kills the program at its n-th call of each kind that changes files, for every n until it ends by itself. Then the program
//! is killed at random times. The results in the end must be equal to the unbroken ones byte for byte, and a killed command must not
//! leave results that look complete but are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The calls that change files. Each has its own turn, because `strace` counts every call on its own, and in every thread.
const CALLS: &str = "openat creat write pwrite64 writev rename renameat renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir \
                     ftruncate fsync fdatasync flock fchmod copy_file_range";

const RECIPE: &str = r#"
model.base = "builtin:tiny"
method.kind = "decoder"
data.root = "builtin:endoscopy"
data.generate = { train = 4, val = 2, test = 2, side = 64 }
optim.schedule = "cosine"
trainer = { epochs = 2, batch_size = 2, checkpoint_every = 1, test = true, test_prompts = [] }
cache = { features = "off", dir = "features" }
"#;

const STUDY: &str = r#"
seeds = [1, 2]
[recipe]
optim.schedule = "cosine"
trainer = { epochs = 1, batch_size = 2, checkpoint_every = 1, test_prompts = [] }
cache = { features = "off" }
[[model]]
name = "tiny"
model.base = "builtin:tiny"
[[method]]
name = "zero-shot"
method.kind = "zero-shot"
[[method]]
name = "decoder"
method.kind = "decoder"
[[data]]
name = "endoscopy"
data.root = "builtin:endoscopy"
data.generate = { train = 4, val = 2, test = 2, side = 64 }
"#;

/// A command, and the results that it must end with.
struct Case {
    name: &'static str,
    /// Commands that are run before it.
    setup: &'static [&'static [&'static str]],
    first: &'static [&'static str],
    /// Continues it.
    again: &'static [&'static str],
    /// Files and folders.
    results: &'static [&'static str],
    /// A result that is there only if all results are complete; `None` if `again` decides.
    whole: Option<&'static str>,
}

const RUN: [&str; 3] = [
    "run/metrics.jsonl",
    "run/adapter.safetensors",
    "run/adapter_last.safetensors",
];

const SCANS: &[&str] = &[
    "data",
    "generate",
    "endoscopy",
    "--out",
    "scans",
    "--train",
    "10",
    "--val",
    "0",
    "--test",
    "0",
    "--side",
    "64",
];

const PROMPTS: &[&str] = &[
    "data", "prompts", "scans", "--out", "prompts", "--class", "polyp",
];

const OTHER_PROMPTS: &[&str] = &[
    "data", "prompts", "scans", "--out", "prompts", "--class", "tumour", "--force",
];

const PREPARE: &[&str] = &[
    "data",
    "prepare",
    "kvasir-seg",
    "--from",
    "scans",
    "--out",
    "prepared",
];

const CASES: [Case; 6] = [
    Case {
        name: "training",
        setup: &[],
        first: &["train", "recipe.toml", "--out", "run"],
        again: &["train", "recipe.toml", "--out", "run", "--resume"],
        results: &RUN,
        whole: None,
    },
    Case {
        name: "cached training",
        setup: &[],
        first: &[
            "train",
            "recipe.toml",
            "--out",
            "run",
            "--set",
            "cache.features=on",
        ],
        again: &[
            "train",
            "recipe.toml",
            "--out",
            "run",
            "--set",
            "cache.features=on",
            "--resume",
        ],
        results: &RUN,
        whole: None,
    },
    Case {
        name: "study",
        setup: &[],
        first: &["study", "study.toml", "--out", "study"],
        again: &["study", "study.toml", "--out", "study"],
        results: &["study/results.csv", "study/tests.csv", "study/table.md"],
        whole: None,
    },
    Case {
        name: "data prepare",
        setup: &[SCANS],
        first: PREPARE,
        again: PREPARE,
        results: &["prepared"],
        whole: Some("prepared"),
    },
    Case {
        name: "data prompts",
        setup: &[SCANS],
        first: PROMPTS,
        again: PROMPTS,
        results: &["prompts"],
        whole: Some("prompts"),
    },
    Case {
        name: "data prompts --force",
        setup: &[SCANS, PROMPTS],
        first: OTHER_PROMPTS,
        again: OTHER_PROMPTS,
        results: &["prompts"],
        whole: Some("prompts/train.json"),
    },
];

/// Kills at every `every`-th call and at `random` random times; only the cases whose name contains `name`.
pub(crate) fn check(root: &Path, every: usize, random: usize, name: &str) -> Result<bool> {
    ensure!(every > 0, "--every is 0; give at least 1");
    let program = build(root)?;
    let strace = Command::new("strace").arg("-V").output();
    if !strace.is_ok_and(|output| output.status.success()) {
        bail!("`strace` is not there; install it (Debian, Ubuntu: apt-get install strace)");
    }
    let mut whole = true;
    for case in CASES.iter().filter(|case| case.name.contains(name)) {
        whole &= case.check(&program, every, random)?;
    }
    Ok(whole)
}

/// The program, built.
fn build(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--bin", "vlsm", "--quiet", "--message-format=json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(built.status.success(), "the program does not build");
    let text = String::from_utf8(built.stdout)?;
    let path = text
        .split("\"executable\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.ends_with("vlsm"));
    Ok(path.context("cargo names no program")?.into())
}

/// The files of the results, by path.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Case {
    fn check(&self, program: &Path, every: usize, random: usize) -> Result<bool> {
        let (mut before, mut expected) = (Files::new(), Files::new());
        let mut length = Duration::ZERO;
        self.in_folder(program, |folder| {
            before = self.read(folder)?;
            let started = Instant::now();
            run(program, self.first, folder)?;
            length = started.elapsed();
            expected = self.read(folder)?;
            Ok(())
        })?;
        ensure!(before != expected, "{} has no results", self.name);
        let holds = |folder: &Path| self.recovers(program, folder, &before, &expected);
        let (mut kills, mut different) = (0, 0);
        for call in CALLS.split(' ') {
            let mut n = 1;
            while self.in_folder(program, |folder| {
                let killed = killed_at(program, self.first, folder, call, n)?;
                if killed {
                    different += usize::from(!holds(folder)?);
                }
                Ok(killed)
            })? {
                kills += 1;
                n += every;
            }
        }
        let mut state = 1_u64;
        for _ in 0..random {
            // Knuth's MMIX generator.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let after = length.mul_f64((state >> 33) as f64 / (1_u64 << 31) as f64);
            self.in_folder(program, |folder| {
                killed_after(program, self.first, folder, after)?;
                different += usize::from(!holds(folder)?);
                Ok(())
            })?;
        }
        println!(
            "{}: killed at {kills} file system calls and {random} random times; {different} results differ",
            self.name
        );
        Ok(different == 0 && kills > 0)
    }

    /// Whether a killed command left results that are complete or not taken for complete, and another one ends like the unbroken
    /// one and leaves no temporary file.
    fn recovers(
        &self,
        program: &Path,
        folder: &Path,
        before: &Files,
        expected: &Files,
    ) -> Result<bool> {
        if self.whole.is_some_and(|whole| folder.join(whole).exists()) {
            let left = self.read(folder)?;
            if left != *before && left != *expected {
                println!("incomplete: {:?}", left.keys());
                return Ok(false);
            }
            if left == *expected {
                return Ok(true);
            }
        }
        run(program, self.again, folder)?;
        let parts = parts(folder)?;
        if !parts.is_empty() {
            println!("left over: {parts:?}");
        }
        Ok(self.read(folder)? == *expected && parts.is_empty())
    }

    fn read(&self, folder: &Path) -> Result<Files> {
        let mut files = Files::new();
        for result in self.results {
            read_all(&folder.join(result), Path::new(result), &mut files)?;
        }
        Ok(files)
    }

    /// Calls `work` with a new folder that has the recipe, the study and what the setup makes, and removes it.
    fn in_folder<T>(&self, program: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let folder = std::env::temp_dir().join(format!("vlsm-kills-{}", std::process::id()));
        // Left by a failed check.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("recipe.toml"), RECIPE)?;
        std::fs::write(folder.join("study.toml"), STUDY)?;
        for command in self.setup {
            run(program, command, &folder)?;
        }
        let result = work(&folder)?;
        std::fs::remove_dir_all(&folder)?;
        Ok(result)
    }
}

/// Reads a file, or all files of a folder; nothing if there is none.
fn read_all(path: &Path, name: &Path, files: &mut Files) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            read_all(&entry.path(), &name.join(entry.file_name()), files)?;
        }
    } else if path.exists() {
        files.insert(name.into(), std::fs::read(path)?);
    }
    Ok(())
}

fn run(program: &Path, arguments: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()?;
    ensure!(
        output.status.success(),
        "{arguments:?} in {}: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Runs the program and kills it at its n-th call; `false` if it ended before.
fn killed_at(
    program: &Path,
    arguments: &[&str],
    folder: &Path,
    call: &str,
    n: usize,
) -> Result<bool> {
    let status = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={call}:signal=KILL:when={n}"))
        .arg(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(!status.success())
}

fn killed_after(program: &Path, arguments: &[&str], folder: &Path, after: Duration) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::sleep(after);
    // It may have ended by now.
    let _ = child.kill();
    child.wait()?;
    // A run that had ended, or had not begun, is not resumed but begun.
    Ok(())
}

/// The temporary files and folders below a folder.
fn parts(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "part")
        {
            parts.push(path);
        } else if path.is_dir() {
            parts.extend(self::parts(&path)?);
        }
    }
    Ok(parts)
}
