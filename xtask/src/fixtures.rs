//! Checks that the provenance of reference outputs is documented.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::files;

/// Reports folders with fixtures but without a README on their origin, there or in the parent folder.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let data = files::tracked(root, &["safetensors", "json", "bin", "pt", "ckpt"])?;
    let fixtures = data.iter().filter(|file| file.starts_with("fixtures/"));
    let folders: BTreeSet<&Path> = fixtures
        .filter_map(|file| Path::new(file).parent())
        .collect();
    let mut unexplained = 0;
    for folder in folders {
        let above = folder
            .parent()
            .filter(|above| *above != Path::new("fixtures"));
        let explained = [Some(folder), above]
            .into_iter()
            .flatten()
            .any(|folder| root.join(folder).join("README.md").is_file());
        if !explained {
            println!("{}: no README says what made it", folder.display());
            unexplained += 1;
        }
    }
    Ok(unexplained == 0)
}
