//! Kills trainings and studies, resumes them, and compares the results with those of unbroken ones.
//!
//! `strace` kills the program at its n-th file system call, for every n until it ends by itself. Then the program is killed at random
//! times. A resumed run must be equal to the unbroken one byte for byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The calls that change files. A thread is killed when it enters its n-th.
const CALLS: &str = "openat,creat,write,pwrite64,writev,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,\
                     ftruncate,fsync,fdatasync,flock,fchmod,copy_file_range";

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

/// A command, and the files that it must end with.
struct Case {
    name: &'static str,
    first: &'static [&'static str],
    /// Continues it.
    again: &'static [&'static str],
    results: &'static [&'static str],
}

const RUN: [&str; 3] = [
    "run/metrics.jsonl",
    "run/adapter.safetensors",
    "run/adapter_last.safetensors",
];

const CASES: [Case; 3] = [
    Case {
        name: "training",
        first: &["train", "recipe.toml", "--out", "run"],
        again: &["train", "recipe.toml", "--out", "run", "--resume"],
        results: &RUN,
    },
    Case {
        name: "cached training",
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
    },
    Case {
        name: "study",
        first: &["study", "study.toml", "--out", "study"],
        again: &["study", "study.toml", "--out", "study"],
        results: &["study/results.csv", "study/tests.csv", "study/table.md"],
    },
];

/// Kills at every `every`-th call and at `random` random times.
pub(crate) fn check(root: &Path, every: usize, random: usize) -> Result<bool> {
    ensure!(every > 0, "--every is 0; give at least 1");
    let program = build(root)?;
    let strace = Command::new("strace").arg("-V").output();
    if !strace.is_ok_and(|output| output.status.success()) {
        bail!("`strace` is not there; install it (Debian, Ubuntu: apt-get install strace)");
    }
    let mut whole = true;
    for case in &CASES {
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

impl Case {
    fn check(&self, program: &Path, every: usize, random: usize) -> Result<bool> {
        let mut expected = Vec::new();
        let started = Instant::now();
        in_folder(|folder| {
            run(program, self.first, folder)?;
            expected = self.read(folder)?;
            Ok(())
        })?;
        let length = started.elapsed();
        let (mut kills, mut different) = (0, 0);
        let mut n = 1;
        loop {
            let killed = in_folder(|folder| {
                let killed = killed_at(program, self.first, folder, n)?;
                if killed {
                    different += usize::from(!self.resumed(program, folder, &expected)?);
                }
                Ok(killed)
            })?;
            if !killed {
                break;
            }
            kills += 1;
            n += every;
        }
        let mut state = 1_u64;
        for _ in 0..random {
            // Knuth's MMIX generator.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let after = length.mul_f64((state >> 33) as f64 / (1_u64 << 31) as f64);
            in_folder(|folder| {
                killed_after(program, self.first, folder, after)?;
                different += usize::from(!self.resumed(program, folder, &expected)?);
                Ok(())
            })?;
        }
        println!(
            "{}: killed at {kills} file system calls and {random} random times; {different} results differ",
            self.name
        );
        Ok(different == 0 && kills > 0)
    }

    /// Whether the run, continued, ends like the unbroken one and leaves no temporary file.
    fn resumed(&self, program: &Path, folder: &Path, expected: &[Vec<u8>]) -> Result<bool> {
        run(program, self.again, folder)?;
        let parts = parts(folder)?;
        if !parts.is_empty() {
            println!("left over: {parts:?}");
        }
        Ok(self.read(folder)? == expected && parts.is_empty())
    }

    fn read(&self, folder: &Path) -> Result<Vec<Vec<u8>>> {
        let read = |file: &&str| std::fs::read(folder.join(file)).with_context(|| file.to_string());
        self.results.iter().map(read).collect()
    }
}

/// Calls `work` with a new folder that has the recipe and the study, and removes it.
fn in_folder<T>(work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = std::env::temp_dir().join(format!("vlsm-kills-{}", std::process::id()));
    // Left by a failed check.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("recipe.toml"), RECIPE)?;
    std::fs::write(folder.join("study.toml"), STUDY)?;
    let result = work(&folder)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(result)
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
fn killed_at(program: &Path, arguments: &[&str], folder: &Path, n: usize) -> Result<bool> {
    let status = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={CALLS}"))
        .arg("-e")
        .arg(format!("inject={CALLS}:signal=KILL:when={n}"))
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

/// The temporary files below a folder.
fn parts(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            parts.extend(self::parts(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "part")
        {
            parts.push(path);
        }
    }
    Ok(parts)
}
