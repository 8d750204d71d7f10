//! The subject of each image: from its name, or from a table.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;
use vlsm_image::read_text;

use super::Pair;
use crate::config::DataConfig;
use crate::error::{DataError, Result};

/// Where the subjects come from.
pub(crate) enum Subjects {
    /// Each image is its own subject.
    Images,
    /// The first group, or the whole match, in the image's stem.
    Pattern(Regex),
    /// A table of subjects by the image's stem or file name.
    Table {
        path: PathBuf,
        subjects: HashMap<String, String>,
    },
}

/// A line of the table.
#[derive(Deserialize)]
struct Row {
    image: String,
    group: String,
}

impl Subjects {
    /// Reads `data.group`.
    pub(crate) fn read(config: &DataConfig) -> Result<Self> {
        match &config.group {
            None => Ok(Self::Images),
            Some(group) if group.to_ascii_lowercase().ends_with(".csv") => {
                Self::read_table(config.resolve(Path::new(group)))
            }
            Some(group) => Regex::new(group)
                .map(Self::Pattern)
                .map_err(|error| fault(format!("`{group}` is not a regular expression: {error}"))),
        }
    }

    fn read_table(path: PathBuf) -> Result<Self> {
        let text = read_text(&path)?;
        let mut table = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut subjects = HashMap::new();
        for row in table.deserialize() {
            let Row { image, group } = row.map_err(|error| {
                let shown = path.display();
                fault(format!(
                    "`{shown}`: {error}; give a header `image,group` and one line for each image"
                ))
            })?;
            if subjects.get(&image).is_some_and(|other| *other != group) {
                return Err(fault(format!(
                    "`{}` has two groups for image `{image}`; remove one of the lines",
                    path.display()
                )));
            }
            subjects.insert(image, group);
        }
        Ok(Self::Table { path, subjects })
    }

    /// Sets the pairs' subjects. Images without one are a fault.
    pub(crate) fn assign<'a>(
        &self,
        pairs: impl Iterator<Item = &'a mut Pair>,
        faults: &mut Vec<DataError>,
    ) {
        let mut without = Vec::new();
        for pair in pairs {
            match self.of(&pair.image) {
                Some(subject) => pair.subject = subject,
                None => without.push(pair.image.display().to_string()),
            }
        }
        let Some(first) = without.first() else { return };
        let reason = match self {
            Self::Images => return,
            Self::Pattern(pattern) => format!(
                "`{pattern}` does not match the stem of `{first}`, nor of {} other images; change the pattern so that it \
                 matches every image",
                without.len() - 1
            ),
            Self::Table { path, .. } => format!(
                "`{}` has no line for `{first}`, nor for {} other images; add their stems or file names",
                path.display(),
                without.len() - 1
            ),
        };
        faults.push(fault(reason));
    }

    /// The subject of an image.
    fn of(&self, image: &Path) -> Option<String> {
        let text = |name: Option<&std::ffi::OsStr>| Some(name?.to_string_lossy().into_owned());
        match self {
            Self::Images => Some(image.to_string_lossy().into_owned()),
            Self::Pattern(pattern) => {
                let stem = text(image.file_stem())?;
                let found = pattern.captures(&stem)?;
                let subject = found.get(1).or(found.get(0))?;
                Some(subject.as_str().to_owned())
            }
            Self::Table { subjects, .. } => [image.file_name(), image.file_stem()]
                .into_iter()
                .find_map(|name| subjects.get(&text(name)?).cloned()),
        }
    }
}

fn fault(reason: String) -> DataError {
    DataError::Config {
        field: "data.group",
        reason,
    }
}
