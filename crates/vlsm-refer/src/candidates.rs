//! What an expression can mean: boxes of a detector, or parts of a segmenter's masks.

use serde::{Deserialize, Serialize};
use vlsm::Segmenter;
use vlsm::data::parts as mask_parts;
use vlsm::image::Mask;

use crate::error::{ReferError, Result};
use crate::geometry::Bbox;

/// A candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Left, top, right, bottom in pixels.
    #[serde(rename = "box")]
    pub bbox: Bbox,
    /// The words that the detector was asked for.
    pub label: String,
    /// How sure the detector is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The detector, where two are combined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
}

impl Candidate {
    /// The candidate as the published prompt has it: the label in lower case, the left and top sides not below 0.
    ///
    /// # Errors
    /// If a number is infinite or not one, or a side is on the wrong side of the other.
    pub fn normalised(mut self) -> Result<Self> {
        let [left, top, right, bottom] = self.bbox;
        let score = self.score.unwrap_or_default();
        if !self.bbox.iter().chain([&score]).all(|x| x.is_finite()) {
            return Err(ReferError::Candidates(format!(
                "`{}` has a box or a score that is not a finite number",
                self.label
            )));
        }
        if right < left || bottom < top {
            return Err(ReferError::Candidates(format!(
                "the box {:?} of `{}` is not [left, top, right, bottom]; boxes of width and height are not known here",
                self.bbox, self.label
            )));
        }
        self.bbox[0] = left.max(0.0);
        self.bbox[1] = top.max(0.0);
        self.label = self.label.trim().to_lowercase();
        Ok(self)
    }
}

/// A connected part of a predicted mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its box, its prompt, and its mean probability as the score.
    pub candidate: Candidate,
    /// Its pixels.
    pub mask: Mask,
}

/// The parts of the masks that a segmenter predicts for prompts, such as the noun phrases of an expression, and for the expression
/// as a whole. Parts of fewer than `min_area` pixels are left out.
///
/// Returns the parts, and the mask of the expression: the segmenter's own answer.
///
/// # Errors
/// If the image or a prompt cannot be encoded.
pub fn parts(
    segmenter: &Segmenter,
    image: &vlsm::EncodedImage,
    expression: &str,
    prompts: &[String],
    min_area: usize,
) -> Result<(Vec<Part>, Mask)> {
    let mut all: Vec<&str> = vec![expression];
    for prompt in prompts {
        if !all.contains(&prompt.as_str()) {
            all.push(prompt);
        }
    }
    let predictions = segmenter.predict_all(image, &all)?;
    let own = predictions.first().map(|first| first.mask.clone());
    let Some(own) = own else {
        unreachable!("one prediction for each prompt");
    };
    // Where prompts are given, they are what is looked for.
    let of_prompts = if prompts.is_empty() {
        &predictions[..]
    } else {
        let start = usize::from(!prompts.iter().any(|prompt| prompt == expression));
        &predictions[start..]
    };
    let mut found = Vec::new();
    for prediction in of_prompts {
        for (mask, [x0, y0, x1, y1]) in mask_parts(&prediction.mask, min_area) {
            let area = mask.foreground();
            let inside = mask.data.iter().zip(&prediction.probability);
            let sum: f64 = inside
                .filter(|(inside, _)| **inside == 1)
                .map(|(_, p)| f64::from(*p))
                .sum();
            let candidate = Candidate {
                bbox: [x0, y0, x1, y1].map(|side| side as f64),
                label: prediction.prompt.trim().to_lowercase(),
                score: Some(sum / area as f64),
                detector: None,
            };
            found.push(Part { candidate, mask });
        }
    }
    Ok((found, own))
}
