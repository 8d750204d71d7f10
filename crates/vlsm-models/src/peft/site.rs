//! The changed matrices of a base, with their names here and in peft's files.

use super::config::Kind;
use crate::adapter_file::PEFT;
use crate::methods::{BaseShape, Projection, TowerShape};

/// What peft calls the parameters of a change, and their names here.
pub(super) fn parameters(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Lora => &[("lora_A.weight", "a.weight"), ("lora_B.weight", "b.weight")],
        Kind::Dora => &[
            ("lora_A.weight", "direction.a.weight"),
            ("lora_B.weight", "direction.b.weight"),
            ("lora_magnitude_vector", "magnitude"),
        ],
        Kind::Ia3 => &[("ia3_l", "l")],
    }
}

/// A changed matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// Whether it is in the text tower.
    pub(super) text: bool,
    pub(super) layer: usize,
    /// Index in [`Projection::ALL`].
    pub(super) matrix: usize,
}

impl Site {
    fn projection(self) -> Projection {
        Projection::ALL[self.matrix % Projection::ALL.len()]
    }

    /// The matrix and the parameter's name in peft, of a tensor's name.
    pub(super) fn of<'a>(name: &'a str, shape: &BaseShape) -> Option<(Self, &'a str)> {
        let name = name.strip_prefix(PEFT)?;
        let vision = shape.vision.as_ref().ok();
        let in_vision = vision.and_then(|tower| name.strip_prefix(tower.prefix));
        let in_tower = in_vision.or_else(|| name.strip_prefix(shape.text.prefix))?;
        let (layer, name) = in_tower.strip_prefix("encoder.layers.")?.split_once('.')?;
        let layer = layer.parse().ok()?;
        let mut all = Projection::ALL.iter().enumerate();
        all.find_map(|(matrix, projection)| {
            let parameter = name.strip_prefix(projection.path())?.strip_prefix('.')?;
            let site = Self {
                text: in_vision.is_none(),
                layer,
                matrix,
            };
            Some((site, parameter))
        })
    }

    fn tower(self, shape: &BaseShape) -> Option<&TowerShape> {
        match self.text {
            true => Some(&shape.text),
            false => shape.vision.as_ref().ok(),
        }
    }

    /// The matrix's module in Transformers' class.
    pub(super) fn module(self, shape: &BaseShape) -> String {
        let prefix = self.tower(shape).map_or("", |tower| tower.prefix);
        let path = self.projection().path();
        format!("{prefix}encoder.layers.{}.{path}", self.layer)
    }

    /// The name here of a parameter; `index` is the layer's among those that are changed.
    pub(super) fn own(self, kind: Kind, index: usize, parameter: &str) -> String {
        let list = match (kind, self.text) {
            (Kind::Lora, false) => "v_lora",
            (Kind::Lora, true) => "l_lora",
            (_, false) => "vision",
            (_, true) => "text",
        };
        format!("{list}.{index}.{}.{parameter}", self.projection().name())
    }

    /// The shape of a parameter in peft's file.
    pub(super) fn shape(self, parameter: &str, rank: usize, base: &BaseShape) -> Vec<usize> {
        let tower = self.tower(base);
        let [inputs, outputs] = tower.map_or([0, 0], |tower| self.projection().shape(tower));
        match parameter {
            "lora_A.weight" => vec![rank, inputs],
            "lora_B.weight" => vec![outputs, rank],
            "ia3_l" if self.projection() == Projection::Fc2 => vec![1, inputs],
            "ia3_l" => vec![outputs, 1],
            _ => vec![outputs],
        }
    }
}
