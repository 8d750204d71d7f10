//! The images that the arguments name: files, folders and patterns.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vlsm_image::fs::image_files;

/// The images, each once, in the order of the arguments; those of a folder or a pattern by name. Files in `out`, the folder of the
/// results, are left out of folders and patterns.
///
/// # Errors
/// If a folder has no images, a pattern matches none, or a folder is `out` itself. A file that does not exist is an error of its
/// own prediction.
pub(super) fn images(arguments: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let mut images: Vec<PathBuf> = Vec::new();
    for argument in arguments {
        let found = match argument.to_str() {
            _ if argument.is_dir() => of_folder(argument, out)?,
            Some(pattern) if is_pattern(pattern) && !argument.exists() => of_pattern(pattern, out)?,
            _ => vec![argument.clone()],
        };
        for image in found {
            if !images.contains(&image) {
                images.push(image);
            }
        }
    }
    Ok(images)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn of_folder(folder: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let shown = folder.display();
    if let (Ok(folder), Ok(out)) = (folder.canonicalize(), out.canonicalize())
        && folder == out
    {
        bail!(
            "`{shown}` holds the images and is also the folder of the results; choose another with --output"
        );
    }
    let mut files = image_files(folder)?;
    files.sort();
    if !files.is_empty() {
        return Ok(files);
    }
    let images = folder.join("images");
    if images.is_dir() {
        bail!(
            "`{shown}` has no images of its own; give `{}`",
            images.display()
        );
    }
    bail!(
        "`{shown}` has no images (JPEG, PNG, BMP, TIFF or WebP); for those in its sub-folders, give '{shown}/**/*.png'"
    )
}

fn of_pattern(pattern: &str, out: &Path) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern)
        .with_context(|| format!("`{pattern}` is not a pattern; write it as 'scans/*.png'"))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.with_context(|| format!("cannot list `{pattern}`"))?;
        if path.is_file() && !path.starts_with(out) {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("`{pattern}` matches no file; correct the pattern");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_patterns_become_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["b.png", "a.jpg", "c.txt", "sub/d.png", "out/e.png"] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let out = root.join("out");
        let found = |arguments: &[PathBuf]| {
            let images = images(arguments, &out);
            let names = images.map(|images| {
                let name =
                    |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
                images.iter().map(name).collect::<Vec<_>>()
            });
            names.map_err(|error| error.to_string())
        };
        assert_eq!(found(&[root.into()]).unwrap(), ["a.jpg", "b.png"]);
        let pattern = root.join("**/*.png");
        assert_eq!(
            found(std::slice::from_ref(&pattern)).unwrap(),
            ["b.png", "d.png"]
        );
        let twice = [root.join("b.png"), pattern, root.join("gone.png")];
        assert_eq!(found(&twice).unwrap(), ["b.png", "d.png", "gone.png"]);
        assert!(
            found(&[root.join("*.tif")])
                .unwrap_err()
                .contains("matches no file")
        );
        assert!(
            found(std::slice::from_ref(&out))
                .unwrap_err()
                .contains("folder of the results")
        );
        std::fs::create_dir_all(root.join("set/images")).unwrap();
        assert!(
            found(&[root.join("set")])
                .unwrap_err()
                .contains("set/images`")
        );
        // A file may have a pattern's name.
        std::fs::write(root.join("[1].png"), "x").unwrap();
        assert_eq!(found(&[root.join("[1].png")]).unwrap(), ["[1].png"]);
    }
}
