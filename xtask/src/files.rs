//! Files that git tracks.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Paths of tracked files with one of these extensions, relative to `root`, with `/`.
pub(crate) fn tracked(root: &Path, extensions: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files failed");
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let wanted = |file: &&str| {
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        extension.is_some_and(|extension| extensions.contains(&extension))
            && root.join(file).is_file()
    };
    Ok(text.lines().filter(wanted).map(str::to_owned).collect())
}

/// The text of a file below `root`.
pub(crate) fn read(root: &Path, file: &str) -> Result<String> {
    std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
}
