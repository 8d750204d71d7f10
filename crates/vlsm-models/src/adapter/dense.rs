//! Dense adapters: blocks in the towers' layers, two in each as published.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{AdapterBlock, LayerAdapters, conditional_block, conditioned};
use crate::clipseg::ClipSegConfig;
use crate::method::{MethodConfig, Sublayers};

/// Blocks inside the towers, and one on the projected text embedding; field names as published.
#[derive(Module, Debug)]
pub struct DenseAdapters {
    v_attn_adapters: Vec<AdapterBlock>,
    v_out_adapters: Vec<AdapterBlock>,
    l_attn_adapters: Vec<AdapterBlock>,
    l_out_adapters: Vec<AdapterBlock>,
    cond_adapter: Option<AdapterBlock>,
    #[module(skip)]
    layers: Vec<usize>,
    #[module(skip)]
    text_layers: Vec<usize>,
}

impl DenseAdapters {
    pub(super) fn new(method: &MethodConfig, base: &ClipSegConfig, device: &Device) -> Self {
        let (text, vision) = (base.text_config.hidden_size, base.vision_config.hidden_size);
        let make = |sublayer, places: &[(usize, usize)], width| {
            let wanted = [Sublayers::Both, sublayer].contains(&method.sublayers);
            let places = if wanted { places } else { &[] };
            let blocks = places.iter().map(|(_, bottleneck)| {
                let block = AdapterBlock::new(width, *bottleneck, method, device);
                block.connected(method.connection)
            });
            blocks.collect()
        };
        let (attention, mlp) = (Sublayers::Attention, Sublayers::Mlp);
        let places = method.vision_places(base);
        let text_places = method.text_places(base);
        Self {
            v_attn_adapters: make(attention, &places, vision),
            v_out_adapters: make(mlp, &places, vision),
            l_attn_adapters: make(attention, &text_places, text),
            l_out_adapters: make(mlp, &text_places, text),
            cond_adapter: conditional_block(method, base, device),
            layers: places.into_iter().map(|(layer, _)| layer).collect(),
            text_layers: text_places.into_iter().map(|(layer, _)| layer).collect(),
        }
    }

    /// The blocks in layer `index` of the vision tower.
    pub fn vision_layer(&self, index: usize) -> LayerAdapters<'_> {
        let (attention, output) = (&self.v_attn_adapters, &self.v_out_adapters);
        layer(index, &self.layers, attention, output)
    }

    /// The blocks in layer `index` of the text tower.
    pub fn text_layer(&self, index: usize) -> LayerAdapters<'_> {
        let (attention, output) = (&self.l_attn_adapters, &self.l_out_adapters);
        layer(index, &self.text_layers, attention, output)
    }

    /// The projected text embedding, `[prompts, projection]`.
    pub fn adapt_text(&self, embedding: Tensor<2>) -> Tensor<2> {
        conditioned(&self.cond_adapter, embedding)
    }
}

fn layer<'a>(
    index: usize,
    layers: &[usize],
    attention: &'a [AdapterBlock],
    output: &'a [AdapterBlock],
) -> LayerAdapters<'a> {
    let place = layers.iter().position(|layer| *layer == index);
    LayerAdapters {
        attention: place.and_then(|place| attention.get(place)),
        output: place.and_then(|place| output.get(place)),
        lora: None,
    }
}
