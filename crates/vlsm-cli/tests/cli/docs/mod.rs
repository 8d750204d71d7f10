//! Every command in README.md and docs/ runs, in a folder of small stand-ins (see `sandbox.rs`).

mod parse;
mod sandbox;

use std::path::{Path, PathBuf};
use std::process::Command;

use parse::{DocCommand, commands};
use sandbox::{EXTRA, NOT_RUN, STAND_INS, Sandbox};

/// README.md and the pages of docs/, with their paths from the root of the repository.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap();
    let mut paths: Vec<PathBuf> = pages.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.push(root.join("README.md"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The words of a command, with stand-ins for a reader's files and with arguments that make it short;
/// `None` if it is listed as one that cannot run here.
fn prepared(command: &DocCommand) -> Option<Vec<String>> {
    let line = command.words.join(" ");
    if NOT_RUN.iter().any(|(start, _)| line.starts_with(start)) {
        return None;
    }
    let mut words: Vec<String> = command
        .words
        .iter()
        .map(|word| {
            STAND_INS
                .iter()
                .fold(word.clone(), |word, (name, with)| word.replace(name, with))
        })
        .collect();
    for (start, arguments) in EXTRA {
        if line.starts_with(start) {
            words.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        }
    }
    Some(words)
}

/// Runs a command of a document; returns an error message if it fails.
fn run(sandbox: &Sandbox, command: &DocCommand) -> Result<(), String> {
    let Some(words) = prepared(command) else {
        return Ok(());
    };
    let Some(("vlsm", arguments)) = words
        .split_first()
        .map(|(name, rest)| (name.as_str(), rest))
    else {
        return Err("is not a command of vlsm".to_owned());
    };
    sandbox.remove_output(arguments);
    let output = Command::new(env!("CARGO_BIN_EXE_vlsm"))
        .args(arguments)
        .current_dir(sandbox.path())
        .env("VLSM_CACHE", sandbox.path().join("cache"))
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("ran as `{}` and failed:\n{error}", words.join(" ")))
}

#[test]
fn commands_in_the_documents_run() {
    let template = Sandbox::new();
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for (name, text) in documents() {
        let commands = match commands(&text) {
            Ok(commands) => commands,
            Err(fault) => {
                faults.push(format!("{name}:{fault}"));
                continue;
            }
        };
        // The commands of a page run in order, in one folder.
        let sandbox = (!commands.is_empty()).then(|| template.copy());
        for command in &commands {
            if let Some(Err(fault)) = sandbox.as_ref().map(|sandbox| run(sandbox, command)) {
                faults.push(format!(
                    "{name}:{}: `{}` {fault}",
                    command.line,
                    command.words.join(" ")
                ));
            }
        }
        all.extend(commands);
    }
    assert!(
        faults.is_empty(),
        "{}\n\nIf a command names something that the test does not have, add it to STAND_INS in \
         crates/vlsm-cli/tests/cli/docs/sandbox.rs; if it takes too long, shorten it with EXTRA; if \
         it cannot run in a test, add it to NOT_RUN with the reason.",
        faults.join("\n")
    );
    let lines: Vec<String> = all.iter().map(|command| command.words.join(" ")).collect();
    let stand_ins = STAND_INS.iter().map(|(name, _)| *name);
    for name in stand_ins {
        let used = lines.iter().any(|line| line.contains(name));
        assert!(used, "no document has `{name}`: remove it from STAND_INS");
    }
    let starts = EXTRA.iter().map(|(start, _)| *start);
    for start in starts.chain(NOT_RUN.iter().map(|(start, _)| *start)) {
        let used = lines.iter().any(|line| line.starts_with(start));
        assert!(used, "no document has `{start}`: remove it from sandbox.rs");
    }
}
