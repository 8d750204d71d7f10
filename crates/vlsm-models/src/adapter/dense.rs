//! Dense adapters: two blocks in each of the towers' layers.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{AdapterBlock, blocks, conditional_block};
use crate::config::ClipSegConfig;
use crate::method::MethodConfig;

/// The blocks in one layer of a tower, each before a residual addition.
#[derive(Debug, Clone, Copy)]
pub struct LayerAdapters<'a> {
    /// Works on the output of the attention.
    pub attention: &'a AdapterBlock,
    /// Works on the output of the MLP.
    pub output: &'a AdapterBlock,
}

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
}

impl DenseAdapters {
    pub(super) fn new(method: &MethodConfig, base: &ClipSegConfig, device: &Device) -> Self {
        let layers = method.layers(base);
        let make = |wanted: bool, width| {
            let count = if wanted { layers.len() } else { 0 };
            blocks(method, count, width, device)
        };
        let (text, vision) = (base.text_config.hidden_size, base.vision_config.hidden_size);
        Self {
            v_attn_adapters: make(true, vision),
            v_out_adapters: make(true, vision),
            l_attn_adapters: make(method.towers.text(), text),
            l_out_adapters: make(method.towers.text(), text),
            cond_adapter: conditional_block(method, base, device),
            layers,
        }
    }

    /// The blocks in layer `index` of the vision tower.
    pub fn vision_layer(&self, index: usize) -> Option<LayerAdapters<'_>> {
        self.layer(index, &self.v_attn_adapters, &self.v_out_adapters)
    }

    /// The blocks in layer `index` of the text tower.
    pub fn text_layer(&self, index: usize) -> Option<LayerAdapters<'_>> {
        self.layer(index, &self.l_attn_adapters, &self.l_out_adapters)
    }

    fn layer<'a>(
        &self,
        index: usize,
        attention: &'a [AdapterBlock],
        output: &'a [AdapterBlock],
    ) -> Option<LayerAdapters<'a>> {
        let place = self.layers.iter().position(|layer| *layer == index)?;
        Some(LayerAdapters {
            attention: attention.get(place)?,
            output: output.get(place)?,
        })
    }

    /// The projected text embedding, `[prompts, projection]`.
    pub fn adapt_text(&self, embedding: Tensor<2>) -> Tensor<2> {
        match &self.cond_adapter {
            Some(adapter) => adapter.forward(embedding),
            None => embedding,
        }
    }
}
