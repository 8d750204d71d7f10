//! Identifies a drawing; pixels and prompts depend on nothing else.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use vlsm_data::{GenerateConfig, Split, describe};
use vlsm_image::RgbImage;

use crate::drawing::{Drawing, DrawnReferent, Referent};
use crate::phantom::Phantom;
use crate::scenes::{self, Scene};
use crate::{endoscopy, street, ultrasound};

/// What is drawn.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Objects of varied shape, colour, size, position and texture, with prompts that pick some of them.
    Scenes,
    /// Endoscopy phantom: mucosa with folds and polyps.
    Endoscopy,
    /// Ultrasound phantom: tissue with lesions.
    Ultrasound,
    /// Street phantom: road, sky, cars, signs.
    Street,
}

impl Domain {
    /// All domains.
    pub const ALL: [Self; 4] = [
        Self::Scenes,
        Self::Endoscopy,
        Self::Ultrasound,
        Self::Street,
    ];

    /// Name in the recipe key `data.root` after `builtin:`, and in `vlsm data generate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
            Self::Endoscopy => "endoscopy",
            Self::Ultrasound => "ultrasound",
            Self::Street => "street",
        }
    }

    /// The names of the classes of its pixels, by id; `None` if the domain has no classes.
    pub fn class_names(self) -> Option<Vec<String>> {
        match self {
            Self::Scenes => Some(scenes::class_names()),
            Self::Street => Some(street::class_names()),
            Self::Endoscopy | Self::Ultrasound => None,
        }
    }
}

/// Identifies a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawingId {
    /// What is drawn.
    pub domain: Domain,
    /// Seed of the data set.
    pub seed: u64,
    /// Split; no drawing is in two splits of a seed.
    pub split: Split,
    /// Index in the split.
    pub index: u64,
    /// Side in pixels.
    pub side: usize,
}

impl DrawingId {
    /// A drawing of a data set, by its number in a split.
    pub(crate) fn of(domain: Domain, config: &GenerateConfig, split: Split, index: usize) -> Self {
        Self {
            domain,
            seed: config.seed,
            split,
            index: index as u64,
            side: config.side,
        }
    }

    fn rng(&self) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(((self.split as u64) << 48) | self.index);
        rng
    }

    /// Name, unique in the split: `scenes_00012`.
    pub fn name(&self) -> String {
        format!("{}_{:05}", self.domain.name(), self.index)
    }

    fn scene(&self) -> Scene {
        match self.split {
            Split::Train => Scene::for_training(self.rng(), self.index),
            Split::Val | Split::Test => Scene::for_evaluation(self.rng()),
        }
    }

    /// The drawing's referents. Phantoms are painted to get them, since their prompts describe the result; scenes are not.
    pub fn referents(&self) -> Vec<Referent> {
        match self.domain {
            Domain::Scenes => self.scene().referents(),
            _ => {
                let drawn = self.draw().referents.into_iter();
                drawn.map(|drawn| drawn.referent).collect()
            }
        }
    }

    /// Draws the picture with the class of each pixel. `None` if the domain has no classes.
    pub(crate) fn draw_classes(&self, background: u8) -> Option<(RgbImage, Vec<u8>)> {
        match self.domain {
            Domain::Scenes => Some(self.scene().draw_classes(self.side, background)),
            Domain::Street => Some(street::draw_classes(&mut self.rng(), self.side, background)),
            Domain::Endoscopy | Domain::Ultrasound => None,
        }
    }

    /// Draws the picture and its masks.
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
