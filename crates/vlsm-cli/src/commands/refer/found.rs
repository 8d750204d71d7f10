//! The candidates of a query, and the object it means.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vlsm::Segmenter;
use vlsm_image::{Mask, read_mask};
use vlsm_models::Precision;
use vlsm_refer::{Bbox, Candidate, Frame, Query, TrainingExample, candidates, training_examples};

use crate::commands::shared::{adapter_file, segmenter};
use crate::output::progress_bar;

/// The pixels of the smallest candidate.
const MIN_AREA: usize = 16;

/// Options that say who looks for candidates.
#[derive(clap::Args)]
pub(in crate::commands) struct Finder {
    /// The base of the segmenter that looks for candidates: a folder, or a name on the hub.
    #[arg(long)]
    base: Option<String>,
    /// An adapter file, or a run's folder, for --base.
    #[arg(long, value_name = "FILE_OR_RUN", requires = "base")]
    adapter: Option<PathBuf>,
    /// Parts of masks with fewer pixels are no candidates.
    #[arg(long, value_name = "PIXELS", default_value_t = MIN_AREA)]
    min_area: usize,
    /// Device: cpu, auto, or one that `vlsm devices` lists, such as cuda or cuda:1 [default: cpu].
    #[arg(long)]
    pub(super) device: Option<String>,
}

impl Finder {
    /// A segmenter on the CPU, with the defaults of the command line.
    pub(in crate::commands) fn of(base: &str) -> Self {
        Self {
            base: Some(base.to_owned()),
            adapter: None,
            min_area: MIN_AREA,
            device: None,
        }
    }

    /// The device by name.
    pub(super) fn device(&self) -> &str {
        self.device.as_deref().unwrap_or("cpu")
    }

    /// The candidates of each query.
    pub(in crate::commands) fn find(&self, queries: &[Query]) -> Result<Vec<Found>> {
        let open = queries.iter().position(|query| query.candidates.is_none());
        let segmenter = match (open, &self.base) {
            (Some(at), None) => bail!(
                "query {} has no `candidates`; name the segmenter that looks for them with --base",
                at + 1
            ),
            (None, _) => None,
            (Some(_), Some(base)) => {
                let adapter = self.adapter.as_deref().map(adapter_file);
                let adapter = adapter.transpose()?;
                let precision = Precision::F32;
                let segmenter =
                    segmenter(base, adapter.as_deref(), None, self.device(), precision)?;
                segmenter.warn_of_random_part();
                Some(segmenter)
            }
        };
        let bar = progress_bar("looking", queries.len());
        let mut all = Vec::with_capacity(queries.len());
        for query in queries {
            let found = match (&query.candidates, &segmenter) {
                (None, Some(segmenter)) => Found::by_segmenter(segmenter, query, self.min_area)?,
                (candidates, _) => Found::given(candidates.as_deref().unwrap_or_default(), query),
            };
            all.push(found);
            bar.inc(1);
        }
        Ok(all)
    }

    /// The published training examples of queries, and how many of these have any.
    pub(in crate::commands) fn examples(
        &self,
        queries: &[Query],
        frame: Frame,
    ) -> Result<(Vec<TrainingExample>, usize)> {
        let (mut examples, mut used) = (Vec::new(), 0);
        for (at, (query, found)) in queries.iter().zip(self.find(queries)?).enumerate() {
            let truth = truth(query)?.with_context(|| {
                format!("query {} has no `truth_box` and no `truth_mask`", at + 1)
            })?;
            let of_query = training_examples(
                &query.expression,
                &found.candidates,
                truth.bbox,
                true,
                frame,
            )?;
            used += usize::from(!of_query.is_empty());
            examples.extend(of_query);
        }
        Ok((examples, used))
    }
}

/// What was found for a query.
pub(in crate::commands) struct Found {
    pub(in crate::commands) candidates: Vec<Candidate>,
    /// The candidates' masks; none if they are boxes.
    pub(in crate::commands) masks: Vec<Mask>,
    /// The detector's own answer.
    pub(in crate::commands) own: Option<Answer>,
}

/// An answer, or the object itself.
#[derive(Clone)]
pub(in crate::commands) struct Answer {
    pub(in crate::commands) bbox: Bbox,
    pub(in crate::commands) mask: Option<Mask>,
}

impl Found {
    /// The query's own candidates.
    pub(in crate::commands) fn given(candidates: &[Candidate], query: &Query) -> Self {
        Self {
            candidates: candidates.to_vec(),
            masks: Vec::new(),
            own: query.fallback.map(|bbox| Answer { bbox, mask: None }),
        }
    }

    /// The parts of a segmenter's masks. Its own answer is its mask for the expression, whole.
    pub(in crate::commands) fn by_segmenter(
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
    pub(in crate::commands) fn answer(&self, index: Option<usize>) -> Option<Answer> {
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
pub(in crate::commands) fn truth(query: &Query) -> Result<Option<Answer>> {
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
