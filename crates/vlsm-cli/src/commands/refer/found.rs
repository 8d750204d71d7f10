//! The candidates of a query, and the object it means.

use anyhow::{Context, Result, bail};
use vlsm::Segmenter;
use vlsm_image::{Mask, read_mask};
use vlsm_refer::{Bbox, Candidate, Query, candidates};

/// What was found for a query.
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    /// The candidates' masks; none if they are boxes.
    pub(super) masks: Vec<Mask>,
    /// The detector's own answer.
    pub(super) own: Option<Answer>,
}

/// An answer, or the object itself.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) bbox: Bbox,
    pub(super) mask: Option<Mask>,
}

impl Found {
    /// The query's own candidates.
    pub(super) fn given(candidates: &[Candidate], query: &Query) -> Self {
        Self {
            candidates: candidates.to_vec(),
            masks: Vec::new(),
            own: query.fallback.map(|bbox| Answer { bbox, mask: None }),
        }
    }

    /// The parts of a segmenter's masks. Its own answer is its mask for the expression, whole.
    pub(super) fn by_segmenter(
        segmenter: &Segmenter,
        query: &Query,
        min_area: usize,
    ) -> Result<Self> {
        let image = query.image.as_deref().context("a query has no image")?;
        let image = segmenter.set_image_file(image)?;
        let (parts, own) = candidates::parts(
            segmenter,
            &image,
            &query.expression,
            &query.prompts,
            min_area,
        )?;
        let (candidates, masks) = parts
            .into_iter()
            .map(|part| (part.candidate, part.mask))
            .unzip();
        Ok(Self {
            candidates,
            masks,
            own: Answer::of(own),
        })
    }

    /// The answer that a choice stands for.
    pub(super) fn answer(&self, index: Option<usize>) -> Option<Answer> {
        match index {
            Some(index) => self.candidates.get(index).map(|candidate| Answer {
                bbox: candidate.bbox,
                mask: self.masks.get(index).cloned(),
            }),
            None => self.own.clone(),
        }
    }
}

impl Answer {
    /// A mask and its box; nothing if it is empty.
    fn of(mask: Mask) -> Option<Self> {
        let bbox = mask.bounding_box()?.map(|side| side as f64);
        let mask = Some(mask);
        Some(Self { bbox, mask })
    }
}

/// The object that a query means, if it says so.
pub(super) fn truth(query: &Query) -> Result<Option<Answer>> {
    if let Some(path) = &query.truth_mask {
        let Some(answer) = Answer::of(read_mask(path)?) else {
            bail!(
                "`{}` has no foreground, so there is no object",
                path.display()
            );
        };
        return Ok(Some(answer));
    }
    Ok(query.truth_box.map(|bbox| Answer { bbox, mask: None }))
}
