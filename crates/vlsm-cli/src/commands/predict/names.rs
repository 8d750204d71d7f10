//! Names of a prediction's files.

use std::collections::HashMap;
use std::path::Path;

use vlsm_data::UniqueNames;
use vlsm_train::evaluate::file_name;

/// A name for each image, the same in every call with these images: the file's name without its extension; with the
/// extension and folders before it as far as images would have equal names without them. Names that differ only in case count as
/// equal, as they do on some file systems.
pub(super) fn image_names(paths: &[&Path]) -> Vec<String> {
    let mut parts = vec![0; paths.len()];
    loop {
        let names: Vec<String> = paths
            .iter()
            .zip(&parts)
            .map(|(path, parts)| name(path, *parts))
            .collect();
        let mut count: HashMap<String, usize> = HashMap::new();
        for name in &names {
            *count.entry(name.to_lowercase()).or_default() += 1;
        }
        let mut longer = false;
        for (index, name) in names.iter().enumerate() {
            if count[&name.to_lowercase()] > 1 && parts[index] <= paths[index].components().count()
            {
                parts[index] += 1;
                longer = true;
            }
        }
        if !longer {
            return numbered(names);
        }
    }
}

/// The stem of a file's name for 0 parts, else the last parts of its path.
fn name(path: &Path, parts: usize) -> String {
    if parts == 0 {
        return file_name(&path.file_stem().unwrap_or_default().to_string_lossy());
    }
    let all: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    file_name(&all[all.len().saturating_sub(parts)..].join("-"))
}

/// Names with a number where two would be equal.
pub(super) fn numbered(names: Vec<String>) -> Vec<String> {
    let mut unique = UniqueNames::of_files();
    names.into_iter().map(|name| unique.take(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        let paths: Vec<&Path> = paths.iter().map(Path::new).collect();
        image_names(&paths)
    }

    #[test]
    fn names_are_as_short_as_distinct_names_can_be() {
        assert_eq!(names(&["a/x.png", "a/y.png"]), ["x", "y"]);
        assert_eq!(names(&["x.png", "x.jpg"]), ["x.png", "x.jpg"]);
        assert_eq!(
            names(&["a/x.png", "b/X.png", "y.png"]),
            ["a-x.png", "b-X.png", "y"]
        );
        // In another order they have the same names.
        assert_eq!(names(&["b/X.png", "a/x.png"]), ["b-X.png", "a-x.png"]);
        assert_eq!(names(&["x.png", "a/x.png"]), ["x.png", "a-x.png"]);
    }

    #[test]
    fn equal_names_are_numbered() {
        let given = ["a", "A", "b", "a"].map(str::to_owned).to_vec();
        assert_eq!(numbered(given), ["a", "A-2", "b", "a-3"]);
    }
}
