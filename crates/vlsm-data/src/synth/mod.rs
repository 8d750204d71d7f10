//! Generated data: referring-segmentation scenes that a base is trained on, and phantom domains that look like what it
//! is adapted to.
//!
//! Everything is a function of domain, seed, index and side: two runs draw the same pixels.

mod canvas;
mod export;
mod scenes;

pub use export::write_dataset;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::Split;
use crate::picture::{Mask, RgbImage};
use crate::prompt::Prompts;
use scenes::Scene;

/// What is drawn.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Objects of different shape, colour, size, place and texture, and prompts that pick some of them.
    Scenes,
}

impl Domain {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Scenes];

    /// The name: of the recipe key `data.root` behind `builtin:`, and of `vlsm data generate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
        }
    }
}

/// One thing to segment in a drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referent {
    /// What scores are told apart by: a scene's kind of prompt, a phantom's class.
    pub group: String,
    /// The words for it.
    pub prompts: Prompts,
    /// What of each prompt is read from the mask, as [`Description::oracle`](crate::Description::oracle). The prompts of
    /// scenes are no oracles: they decide what the mask is.
    pub oracle: BTreeMap<&'static str, Vec<&'static str>>,
}

/// A referent with its pixels.
#[derive(Clone, Debug)]
pub struct DrawnReferent {
    /// What it is.
    pub referent: Referent,
    /// Where it is.
    pub mask: Mask,
}

/// A generated image and all that is to be found in it.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The image.
    pub image: RgbImage,
    /// What is to be found in it, never nothing.
    pub referents: Vec<DrawnReferent>,
}

/// Which drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawingId {
    /// What is drawn.
    pub domain: Domain,
    /// Seed of the data set.
    pub seed: u64,
    /// Split; the splits of a seed share no drawing.
    pub split: Split,
    /// Number in the split.
    pub index: u64,
    /// Side in pixels.
    pub side: usize,
}

impl DrawingId {
    fn rng(&self) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(((self.split as u64) << 48) | self.index);
        rng
    }

    /// A name for the drawing, unique in its split: `scenes_00012`.
    pub fn name(&self) -> String {
        format!("{}_{:05}", self.domain.name(), self.index)
    }

    fn scene(&self) -> Scene {
        // A training scene is seen under a few prompts; others are measured under all kinds.
        Scene::new(self.rng(), self.split != Split::Train)
    }

    /// What is to be found in the drawing, without painting it where that can be told before.
    pub fn referents(&self) -> Vec<Referent> {
        match self.domain {
            Domain::Scenes => self.scene().referents(),
        }
    }

    /// The picture and what is to be found in it.
    pub fn draw(&self) -> Drawing {
        match self.domain {
            Domain::Scenes => self.scene().draw(self.side),
        }
    }
}
