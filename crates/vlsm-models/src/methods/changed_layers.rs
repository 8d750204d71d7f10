//! Changes in some layers of the towers, as several methods have them.

use burn::module::Module;
use burn::tensor::Device;

use super::changes::of_layer;
use super::{
    Adaptation, AdapterSites, BaseShape, LayerAdapters, LayerChanges, LayerPart, Projection, Start,
    Tensors, Touches, Tower, TowerShape, sites, start,
};
use crate::error::Result;

/// Changes in layers of the two towers.
#[derive(Module, Debug)]
pub struct ChangedLayers<C: Module> {
    vision: Vec<C>,
    text: Vec<C>,
    /// The layers of the vision tower that are changed; of the text tower.
    #[module(skip)]
    layers: [Vec<usize>; 2],
    /// Prefixes of the towers' parameters in the base.
    #[module(skip)]
    prefixes: [String; 2],
    #[module(skip)]
    train_decoder: bool,
    #[module(skip)]
    merged: bool,
}

impl<C: Module> ChangedLayers<C> {
    /// `make` makes a layer's changes for a tower and the width of a site.
    pub(super) fn new(
        base: &BaseShape,
        sites: &AdapterSites,
        train_decoder: bool,
        device: &Device,
        make: impl Fn(&TowerShape, usize, &Device) -> C,
    ) -> Self {
        let all = |tower: &TowerShape, sites: &[(usize, usize)]| -> Vec<C> {
            let sites = sites.iter();
            sites
                .map(|(_, width)| make(tower, *width, device))
                .collect()
        };
        Self {
            vision: match &base.vision {
                Ok(tower) => all(tower, &sites.vision),
                Err(_) => Vec::new(),
            },
            text: all(&base.text, &sites.text),
            layers: [sites::layers(&sites.vision), sites::layers(&sites.text)],
            prefixes: [
                base.vision.as_ref().map_or("", |tower| tower.prefix).into(),
                base.text.prefix.into(),
            ],
            train_decoder,
            merged: false,
        }
    }
}

impl<C: Module + LayerChanges> Adaptation for ChangedLayers<C> {
    fn touches(&self) -> Touches {
        let [vision, text] = self.layers.each_ref().map(|layers| !layers.is_empty());
        Touches {
            vision,
            text,
            decoder: self.train_decoder,
        }
    }

    fn first_vision_layer(&self) -> usize {
        let [vision, _] = &self.layers;
        vision.first().copied().unwrap_or(0)
    }

    fn start(&self, base: &dyn Start) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        let towers = [("vision", &self.vision), ("text", &self.text)];
        for ((tower, changes), (layers, prefix)) in towers
            .into_iter()
            .zip(self.layers.iter().zip(&self.prefixes))
        {
            for (index, (changes, layer)) in changes.iter().zip(layers).enumerate() {
                for matrix in Projection::ALL {
                    let Some(change) = changes.of(LayerPart::Linear(matrix)) else {
                        continue;
                    };
                    let of_base = || {
                        let path = matrix.path();
                        start::matrix(
                            base,
                            &format!("{prefix}encoder.layers.{layer}.{path}.weight"),
                        )
                    };
                    if let Some((field, value)) = change.start(&of_base)? {
                        let name = format!("{tower}.{index}.{}.{field}", matrix.name());
                        tensors.insert(name, value);
                    }
                }
            }
        }
        Ok(tensors)
    }

    fn without_changes(self) -> Self {
        Self {
            merged: true,
            ..self
        }
    }

    fn merges(&self, name: &str) -> bool {
        name.starts_with("vision.") || name.starts_with("text.")
    }

    fn layer(&self, tower: Tower, layer: usize) -> LayerAdapters<'_> {
        let [vision, text] = &self.layers;
        let (layers, changes) = match tower {
            Tower::Vision => (vision, &self.vision),
            Tower::Text => (text, &self.text),
        };
        LayerAdapters {
            changes: of_layer(layers, changes, layer).filter(|_| !self.merged),
            ..LayerAdapters::default()
        }
    }
}
