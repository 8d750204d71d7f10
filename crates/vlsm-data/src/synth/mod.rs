//! Generated data: referring-segmentation scenes that a base is trained on, and phantom domains that look like what it
//! is adapted to.
//!
//! Everything is a function of domain, seed, index and side: two runs draw the same pixels.

mod canvas;
mod endoscopy;
mod export;
mod phantom;
#[cfg(test)]
mod phantom_tests;
mod scenes;
mod shapes;
mod street;
mod ultrasound;

pub use export::write_dataset;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::Split;
use crate::describe::describe;
use crate::prompt::Prompts;
use phantom::Phantom;
use scenes::Scene;
use vlsm_image::{Mask, RgbImage};

/// What is drawn.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Objects of different shape, colour, size, place and texture, and prompts that pick some of them.
    Scenes,
    /// A phantom of endoscopy: mucosa with folds and polyps.
    Endoscopy,
    /// A phantom of ultrasound: tissue with lesions.
    Ultrasound,
    /// A phantom of street views: road, sky, cars, signs.
    Street,
}

impl Domain {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Scenes,
        Self::Endoscopy,
        Self::Ultrasound,
        Self::Street,
    ];

    /// The name: of the recipe key `data.root` behind `builtin:`, and of `vlsm data generate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
            Self::Endoscopy => "endoscopy",
            Self::Ultrasound => "ultrasound",
            Self::Street => "street",
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

impl Referent {
    /// Its name, given that of its drawing, in which it is number `number` of `count`: the drawing's where it is alone.
    pub(crate) fn name(&self, drawing: &str, number: usize, count: usize) -> String {
        if count == 1 {
            return drawing.to_owned();
        }
        format!("{drawing}.{number}_{}", self.group.replace(' ', "_"))
    }
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
        match self.split {
            Split::Train => Scene::for_training(self.rng(), self.index),
            Split::Val | Split::Test => Scene::for_evaluation(self.rng()),
        }
    }

    /// What is to be found in the drawing. Scenes are not painted for that; phantoms are, since their prompts describe
    /// what came out.
    pub fn referents(&self) -> Vec<Referent> {
        match self.domain {
            Domain::Scenes => self.scene().referents(),
            _ => {
                let drawn = self.draw().referents.into_iter();
                drawn.map(|one| one.referent).collect()
            }
        }
    }

    /// The picture and what is to be found in it.
    pub fn draw(&self) -> Drawing {
        let draw = match self.domain {
            Domain::Scenes => return self.scene().draw(self.side),
            Domain::Endoscopy => endoscopy::draw,
            Domain::Ultrasound => ultrasound::draw,
            Domain::Street => street::draw,
        };
        let Phantom { image, targets } = draw(&mut self.rng(), self.side);
        let referents = targets.into_iter().map(|(class, mask)| {
            let description = describe(class, &image, &mask);
            DrawnReferent {
                referent: Referent {
                    group: class.to_owned(),
                    prompts: description.prompts(),
                    oracle: description.oracle(),
                },
                mask,
            }
        });
        Drawing {
            referents: referents.collect(),
            image,
        }
    }
}
