//! Tasks of this repository: `cargo xtask TASK`.

// A command-line program prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

mod docs;
mod files;
mod fixtures;
mod kills;
mod lexer;
mod lines;
mod modules;
mod paths;
mod words;

use words::Report;

const HELP: &str = "\
Usage: cargo xtask TASK

  check             everything that CI runs (.ci/run)
  modules [FOLDER]  import cycles between the top-level modules of each crate
  lines             Rust files above 400 lines without a stated reason
  words             uses of words that STYLE.md replaces; --count prints only numbers, --deny fails on any
  paths             paths in the documentation that do not exist
  fixtures          fixture folders without a README on their origin
  docs [--check]    write docs/recipe.md from the types' doc comments; --check compares it
  bench             the kernels' benchmark
  device-tests NAME   the published numbers on another device of this machine, as `vulkan`; `webgpu` also in software (Mesa)
  kernel-checks     the kernels' tests under Miri, valgrind, AddressSanitizer and on emulated Arm, as far as these are installed
  kernels           compile every CUDA kernel of training steps, without a GPU; needs gcc and Python's pip
  kills [EVERY [RANDOM [NAME]]]
                    kill trainings, studies, `data prepare` and `data prompts` at every EVERY-th file system call (1) and
                    RANDOM random times (100), run them again, and compare the results with unbroken ones; needs strace
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a task; `false` if a check failed and has reported it.
fn run(args: &[&str]) -> Result<bool> {
    let root = root()?;
    match args {
        ["check"] => shell(&root, "bash", &[".ci/run"]),
        ["modules"] => modules::check(&root.join("crates")),
        ["modules", folder] => modules::check(Path::new(folder)),
        ["lines"] => lines::check(&root),
        ["words"] => words::check(&root, Report::List),
        ["words", "--count"] => words::check(&root, Report::Count),
        ["words", "--deny"] => words::check(&root, Report::Deny),
        ["paths"] => paths::check(&root),
        ["fixtures"] => fixtures::check(&root),
        ["docs"] => docs::write(&root),
        ["docs", "--check"] => docs::check(&root),
        ["bench"] => shell(
            &root,
            "cargo",
            // Not `--package`, which compiles Burn again with other features.
            &[
                "bench",
                "--workspace",
                "--bench",
                "sublayers",
                "--profile",
                "dev",
            ],
        ),
        ["device-tests", name] => shell(&root, "bash", &["scripts/device-tests.sh", name]),
        ["kernel-checks"] => shell(&root, "bash", &["scripts/kernel-checks.sh"]),
        ["kernels"] => shell(&root, "bash", &["scripts/cuda-without-llvm/check.sh"]),
        ["kills"] => kills::check(&root, 1, 100, ""),
        ["kills", every] => kills::check(&root, every.parse()?, 100, ""),
        ["kills", every, random] => kills::check(&root, every.parse()?, random.parse()?, ""),
        ["kills", every, random, name] => {
            kills::check(&root, every.parse()?, random.parse()?, name)
        }
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}");
            Ok(true)
        }
        _ => bail!("unknown task `{}`\n\n{HELP}", args.join(" ")),
    }
}

fn shell(root: &Path, program: &str, args: &[&str]) -> Result<bool> {
    let status = Command::new(program)
        .args(args)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    Ok(status.success())
}

/// The repository's root: the parent of this package.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().context("xtask is not in a folder")?;
    Ok(root.to_owned())
}
