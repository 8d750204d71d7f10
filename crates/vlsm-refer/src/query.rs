//! Files of queries: a JSON object on each line.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vlsm_image::read_text;

use crate::candidates::Candidate;
use crate::error::{ReferError, Result};
use crate::geometry::Bbox;

/// An expression about an image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The image's file; relative to the file of queries.
    pub image: Option<PathBuf>,
    /// The words that mean one of the objects.
    pub expression: String,
    /// What a detector found. Without it a segmenter looks for `prompts` in the image.
    pub candidates: Option<Vec<Candidate>>,
    /// What a segmenter looks for, such as the noun phrases of the expression. Default: the expression.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// The detector's own answer, taken where the language model's has no index.
    pub fallback: Option<Bbox>,
    /// The object's box, to score with.
    pub truth_box: Option<Bbox>,
    /// The object's mask, to score with: a file, relative to the file of queries. Its box is scored too.
    pub truth_mask: Option<PathBuf>,
}

/// Reads a file of queries. Lines without text are skipped.
///
/// # Errors
/// If the file cannot be read, or a line is not a query; the error names the line and the key.
pub fn read_queries(path: &Path) -> Result<Vec<Query>> {
    let text = read_text(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut queries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |message: String| ReferError::Query {
            path: path.into(),
            line: number + 1,
            message,
        };
        if line.trim_start().starts_with('[') {
            return Err(wrong("is a list; write one object on each line".into()));
        }
        let query: Query = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        queries.push(checked(query, folder).map_err(wrong)?);
    }
    if queries.is_empty() {
        return Err(ReferError::Query {
            path: path.into(),
            line: 1,
            message: "the file has no query".into(),
        });
    }
    Ok(queries)
}

fn checked(mut query: Query, folder: &Path) -> std::result::Result<Query, String> {
    if query.expression.trim().is_empty() {
        return Err("`expression` is empty; say which object is meant".into());
    }
    if query.candidates.is_none() && query.image.is_none() {
        return Err("give `candidates`, or an `image` to look for them in".into());
    }
    if query.candidates.is_some() && !query.prompts.is_empty() {
        return Err("`prompts` has no effect where `candidates` are given; leave one out".into());
    }
    for (key, bbox) in [("truth_box", query.truth_box), ("fallback", query.fallback)] {
        let valid = |b: Bbox| b.iter().all(|x| x.is_finite()) && b[0] <= b[2] && b[1] <= b[3];
        if bbox.is_some_and(|bbox| !valid(bbox)) {
            return Err(format!("`{key}` is not [left, top, right, bottom]"));
        }
    }
    if let Some(candidates) = query.candidates.take() {
        let candidates = candidates.into_iter().map(Candidate::normalised);
        let candidates = candidates.collect::<Result<Vec<_>>>();
        query.candidates = Some(candidates.map_err(|error| error.to_string())?);
    }
    for file in [&mut query.image, &mut query.truth_mask]
        .into_iter()
        .flatten()
    {
        *file = folder.join(&file);
    }
    Ok(query)
}
