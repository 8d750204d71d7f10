//! Training of some of the base's own parameters in the towers' layers, as several methods do.

use burn::module::Module;

use super::{Adaptation, BaseShape, Part, Touches, Towers};
use crate::error::Result;

/// Trained parameters in the layers of towers. Adds none to the base.
#[derive(Module, Debug)]
pub struct TrainedLayers {
    #[module(skip)]
    towers: Towers,
    #[module(skip)]
    train_decoder: bool,
    /// Whether a parameter of a layer is trained, by its name.
    #[module(skip)]
    wanted: fn(&str) -> bool,
}

impl TrainedLayers {
    /// `reason` says what the text embedding lacks.
    pub(super) fn new(
        base: &BaseShape,
        towers: Towers,
        train_decoder: bool,
        reason: &str,
        wanted: fn(&str) -> bool,
    ) -> Result<Self> {
        towers.without_embedding(reason)?;
        towers.vision_of(base)?;
        Ok(Self {
            towers,
            train_decoder,
            wanted,
        })
    }
}

impl Adaptation for TrainedLayers {
    fn touches(&self) -> Touches {
        Touches {
            vision: self.towers.vision(),
            text: self.towers.text(),
            decoder: self.train_decoder,
        }
    }

    fn trains(&self, part: Part, name: &str) -> bool {
        match part {
            Part::Vision { layer: Some(_) } => self.towers.vision() && (self.wanted)(name),
            Part::Text { layer: Some(_) } => self.towers.text() && (self.wanted)(name),
            Part::Decoder => self.train_decoder,
            _ => false,
        }
    }
}
