//! Naming segments by a CLIP: evaluation, and training as in OpenDAS (Yilmaz et al. 2024, "OpenDAS: Open-vocabulary domain
//! adaptation for segmentation").
//!
//! A segment is a class in an image: a sample of a data set with class ids. See `docs/opendas.md`.

mod asked;
mod classes;
mod embed;
mod evaluate;
mod evaluate_labels;
mod labeller;
mod loss;
mod negatives;
mod proposals;
mod recipe;
mod run;
mod scores;
mod train;

pub use asked::AskedNegatives;
pub use classes::SegmentClasses;
pub use evaluate::{Named, SegmentEvaluation, evaluate_segments, nearest};
pub use evaluate_labels::{KindScores, LabelScores, evaluate_labels};
pub use labeller::{ImageLabeller, LabelConfig, LabelledImage, NamedProposal, Namer};
pub use negatives::{EndpointNegatives, Negatives};
pub use proposals::{Proposal, best, fuse};
pub use recipe::{NamedTemplates, SegmentRecipe, StageConfig, Templates};
pub(crate) use run::train_claimed;
pub use run::{AfterStage, SegmentSummary, train_segments};
pub use scores::{ClassScore, Confused, SegmentScores};
