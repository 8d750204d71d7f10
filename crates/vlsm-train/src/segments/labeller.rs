//! Labels of whole images: a segmenter proposes, a CLIP names.

use burn::tensor::Tensor;
use vlsm_image::{ClassList, ClassMap, RgbImage};
use vlsm_models::predict::{Adapter, Engine};
use vlsm_models::segments::{SegmentModel, crops};
use vlsm_models::{Preprocessing, Tokenizer};

use super::classes::fault;
use super::evaluate::probabilities;
use super::proposals::{Proposal, best, fuse, proposals, relabel};
use crate::error::Result;

/// The CLIP of an [`ImageLabeller`].
#[derive(Debug, Clone, Copy)]
pub struct Namer<'a> {
    /// The CLIP, adapted or not.
    pub model: &'a SegmentModel,
    /// Its vocabulary.
    pub tokenizer: &'a Tokenizer,
    /// Its input.
    pub preprocessing: &'a Preprocessing,
    /// The sentences in which names are put, for `{}`.
    pub templates: &'a [&'a str],
}

/// Settings of an [`ImageLabeller`].
#[derive(Debug, Clone, Copy)]
pub struct LabelConfig {
    /// Pixels of the smallest connected part that is a proposal. A SAN's masks are all proposals.
    pub min_area: usize,
    /// The exponent of the CLIP's probability, from 0 to 1; that of the segmenter's is the rest.
    pub clip_weight: f32,
    /// Proposals of one pass of the CLIP.
    pub batch: usize,
}

impl LabelConfig {
    /// OVSeg's weight of the CLIP.
    pub const CLIP_WEIGHT: f32 = 0.7;
}

/// Labels whole images as OVSeg does (Liang et al. 2023): a segmenter's proposals are cut out and compared with the names of the
/// classes by a CLIP. The score of a class in a proposal is a product of powers of both probabilities ([`fuse`]), that of a pixel
/// the sum over proposals of the class's score and the pixel's probability to be of the proposal. The label is the class with the
/// largest score. Pixels without a proposal keep the segmenter's own label.
#[derive(Debug)]
pub struct ImageLabeller<'a> {
    engine: &'a Engine,
    adapter: &'a Adapter,
    classes: &'a ClassList,
    ids: Vec<u8>,
    namer: Namer<'a>,
    /// Embeddings of the classes' names.
    queries: Tensor<2>,
    config: LabelConfig,
}

/// The labels of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImage {
    /// Those of the segmenter alone.
    pub segmenter: ClassMap,
    /// Those with the CLIP's names.
    pub named: ClassMap,
    /// The proposals, with their names.
    pub proposals: Vec<NamedProposal>,
}

/// A proposal with the probabilities of the classes, all in the order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// The CLIP's probabilities; `None` if the mask is empty, so that the CLIP did not see it.
    pub clip: Option<Vec<f32>>,
    /// The scores, see [`fuse`].
    pub scores: Vec<f32>,
}

impl NamedProposal {
    /// The index of the class with the highest score.
    pub fn class(&self) -> usize {
        best(&self.scores)
    }
}

impl<'a> ImageLabeller<'a> {
    /// A labeller with the segmenter `adapter` of an engine.
    ///
    /// # Errors
    /// If there are fewer than two classes, a name cannot be encoded, or the weight is not from 0 to 1.
    pub fn new(
        engine: &'a Engine,
        adapter: &'a Adapter,
        namer: Namer<'a>,
        classes: &'a ClassList,
        config: LabelConfig,
    ) -> Result<Self> {
        let targets = classes.targets();
        let (ids, names): (Vec<u8>, Vec<String>) =
            targets.map(|(id, name)| (id, name.to_owned())).unzip();
        if ids.len() < 2 {
            return fault(
                "classes",
                format!(
                    "`{}` is the only class, so that each part would get its name; name at least two",
                    names.join("")
                ),
            );
        }
        if !(0.0..=1.0).contains(&config.clip_weight) {
            return fault(
                "clip-weight",
                format!("{} is not from 0 to 1", config.clip_weight),
            );
        }
        let queries = namer
            .model
            .embed_names(namer.tokenizer, &names, namer.templates)?;
        Ok(Self {
            engine,
            adapter,
            classes,
            ids,
            namer,
            queries,
            config,
        })
    }

    /// The classes.
    pub fn classes(&self) -> &ClassList {
        self.classes
    }

    /// The labels of an image.
    ///
    /// # Errors
    /// If the image cannot be encoded, or a number of the segmenter is infinite or not one.
    pub fn label(&self, image: &RgbImage) -> Result<LabelledImage> {
        let (engine, adapter, classes) = (self.engine, self.adapter, self.classes);
        let encoded = engine.encode_one(adapter, image, adapter.image_size())?;
        let maps = engine.class_maps(adapter, &encoded, classes)?;
        let (labels, proposals) = proposals(&maps, classes, self.config.min_area)?;
        let clip = self.name(image, &proposals)?;
        let weight = self.config.clip_weight;
        let scores = proposals.iter().zip(&clip);
        let scores = scores.map(|(own, clip)| fuse(&own.classes, clip.as_deref(), weight));
        let scores: Vec<Vec<f32>> = scores.collect();
        let named = match maps.labels_by(&scores, classes)? {
            Some(labels) => labels,
            None => relabel(labels.clone(), &proposals, &scores, &self.ids),
        };
        let proposals = proposals.into_iter().zip(clip).zip(scores);
        let proposals = proposals.map(|((proposal, clip), scores)| NamedProposal {
            proposal,
            clip,
            scores,
        });
        Ok(LabelledImage {
            segmenter: labels,
            named,
            proposals: proposals.collect(),
        })
    }

    /// The CLIP's probabilities of the classes for each proposal; `None` for an empty mask.
    fn name(&self, image: &RgbImage, proposals: &[Proposal]) -> Result<Vec<Option<Vec<f32>>>> {
        let model = self.namer.model;
        let shown = proposals.iter().map(|proposal| &proposal.mask);
        let shown: Vec<_> = shown
            .filter(|mask| mask.foreground() > 0)
            .map(|mask| (image, mask))
            .collect();
        let mut named = Vec::with_capacity(shown.len());
        for part in shown.chunks(self.config.batch.max(1)) {
            let pixels = crops(part, self.namer.preprocessing, &model.device())?;
            let embedded = model.embed_crops(pixels);
            named.extend(probabilities(model, embedded, self.queries.clone()));
        }
        let mut named = named.into_iter();
        let all = proposals.iter().map(|proposal| {
            let is_shown = proposal.mask.foreground() > 0;
            is_shown.then(|| named.next()).flatten()
        });
        Ok(all.collect())
    }
}
