//! The transformers, with the parameter names of Transformers.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use vlsm_models::clip::LayerNorm;

use crate::attention::{KeysValues, attention, cached, joined, mask, split};
use crate::config::{Architecture, LanguageConfig};
use crate::layers::{GatedMlp, Mlp, RmsNorm};
use crate::lora::{HEAD, LayerPass, Pass};

/// Keys and values of the tokens so far.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    tokens: usize,
    layers: Vec<Option<KeysValues>>,
}

/// A decoder-only transformer.
#[derive(Module, Debug)]
pub enum Decoder {
    /// Llama's layout.
    Llama(Llama),
    /// GPT-Neo's layout.
    GptNeo(GptNeo),
}

impl Decoder {
    /// A decoder with random parameters.
    pub fn new(config: &LanguageConfig, device: &Device) -> Self {
        match config.architecture {
            Architecture::Llama => Self::Llama(Llama::new(config, device)),
            Architecture::GptNeo => Self::GptNeo(GptNeo::new(config, device)),
        }
    }

    /// Logits of the next token after each, `[batch, tokens, vocabulary]`, for tokens `[batch, tokens]`. With a cache the tokens
    /// follow those that it holds, and it holds them too afterwards.
    pub fn forward(&self, tokens: Tensor<2, Int>, cache: Option<&mut Cache>) -> Tensor<3> {
        let pass = Pass::default();
        self.logits(self.states(tokens, cache, &pass), &pass)
    }

    /// What the output layer reads, `[batch, tokens, width]`.
    pub(crate) fn states(
        &self,
        tokens: Tensor<2, Int>,
        cache: Option<&mut Cache>,
        pass: &Pass<'_>,
    ) -> Tensor<3> {
        match self {
            Self::Llama(llama) => llama.states(tokens, cache, pass),
            Self::GptNeo(neo) => neo.states(tokens, cache, pass),
        }
    }

    /// The output layer, or the embedding where they are tied.
    pub(crate) fn logits(&self, x: Tensor<3>, pass: &Pass<'_>) -> Tensor<3> {
        let (head, embedding) = match self {
            Self::Llama(llama) => (&llama.lm_head, &llama.model.embed_tokens),
            Self::GptNeo(neo) => (&neo.lm_head, &neo.transformer.wte),
        };
        let logits = match head {
            Some(head) => head.forward(x.clone()),
            None => (x.clone()).matmul(embedding.weight.val().transpose().unsqueeze()),
        };
        pass.changed(logits, x, || HEAD.into())
    }
}

/// Calls each layer with its part of the cache.
fn through<L>(
    layers: &[L],
    mut x: Tensor<3>,
    cache: Option<&mut Cache>,
    call: impl Fn(usize, &L, Tensor<3>, Option<&mut Option<KeysValues>>) -> Tensor<3>,
) -> Tensor<3> {
    let Some(cache) = cache else {
        let layers = layers.iter().enumerate();
        return layers.fold(x, |x, (index, layer)| call(index, layer, x, None));
    };
    cache.layers.resize(layers.len(), None);
    cache.tokens += x.dims()[1];
    for (index, (layer, kept)) in layers.iter().zip(&mut cache.layers).enumerate() {
        x = call(index, layer, x, Some(kept));
    }
    x
}

/// Llama.
#[derive(Module, Debug)]
pub struct Llama {
    model: LlamaModel,
    lm_head: Option<Linear>,
}

#[derive(Module, Debug)]
struct LlamaModel {
    embed_tokens: Embedding,
    layers: Vec<LlamaLayer>,
    norm: RmsNorm,
    rope_theta: f64,
    head_width: usize,
}

#[derive(Module, Debug)]
struct LlamaLayer {
    self_attn: LlamaAttention,
    mlp: GatedMlp,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
}

#[derive(Module, Debug)]
struct LlamaAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    heads: usize,
    groups: usize,
}

/// Cosines and sines of rotary positions, `[1, 1, tokens, width]`.
#[derive(Clone)]
struct Rotation(Tensor<4>, Tensor<4>);

impl Rotation {
    /// Of tokens from `start` on.
    fn new(start: usize, tokens: usize, width: usize, theta: f64, device: &Device) -> Self {
        let half = width / 2;
        let angle = |position: usize, at: usize| {
            // In f32, as in Transformers.
            let frequency = (1.0 / theta.powf(2.0 * (at % half) as f64 / width as f64)) as f32;
            position as f32 * frequency
        };
        let table = |function: fn(f32) -> f32| {
            let positions = start..start + tokens;
            let values = positions.flat_map(|p| (0..width).map(move |at| function(angle(p, at))));
            let data = TensorData::new(values.collect::<Vec<f32>>(), [1, 1, tokens, width]);
            Tensor::from_data(data, device)
        };
        Self(table(f32::cos), table(f32::sin))
    }

    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (low, high) = (
            x.clone().narrow(3, 0, half),
            x.clone().narrow(3, half, half),
        );
        let turned = Tensor::cat(vec![high.neg(), low], 3);
        x * self.0.clone() + turned * self.1.clone()
    }
}

impl Llama {
    fn new(config: &LanguageConfig, device: &Device) -> Self {
        let &LanguageConfig {
            width,
            hidden,
            heads,
            key_value_heads: groups,
            head_width,
            epsilon,
            attention_bias,
            mlp_bias,
            vocabulary,
            ..
        } = config;
        let norm = || RmsNorm::new(width, epsilon, device);
        let linear = |inputs, outputs| {
            let config = LinearConfig::new(inputs, outputs).with_bias(attention_bias);
            config.init(device)
        };
        let layer = |_| LlamaLayer {
            self_attn: LlamaAttention {
                q_proj: linear(width, heads * head_width),
                k_proj: linear(width, groups * head_width),
                v_proj: linear(width, groups * head_width),
                o_proj: linear(heads * head_width, width),
                heads,
                groups,
            },
            mlp: GatedMlp::new(width, hidden, mlp_bias, device),
            input_layernorm: norm(),
            post_attention_layernorm: norm(),
        };
        let head = LinearConfig::new(width, vocabulary).with_bias(false);
        Self {
            model: LlamaModel {
                embed_tokens: EmbeddingConfig::new(vocabulary, width).init(device),
                layers: (0..config.layers).map(layer).collect(),
                norm: norm(),
                rope_theta: config.rope_theta,
                head_width,
            },
            lm_head: (!config.tied).then(|| head.init(device)),
        }
    }

    fn states(
        &self,
        tokens: Tensor<2, Int>,
        cache: Option<&mut Cache>,
        pass: &Pass<'_>,
    ) -> Tensor<3> {
        let model = &self.model;
        let start = cache.as_ref().map_or(0, |cache| cache.tokens);
        let [_, count] = tokens.dims();
        let x = model.embed_tokens.forward(tokens);
        let (device, width) = (x.device(), model.head_width);
        let rotation = Rotation::new(start, count, width, model.rope_theta, &device);
        let mask = mask(count, start + count, None, &device);
        let x = through(&model.layers, x, cache, |index, layer, x, kept| {
            let pass = pass.of_layer("model.layers", index);
            let normal = layer.input_layernorm.forward(x.clone());
            let x = x + (layer.self_attn).forward(normal, &rotation, &mask, kept, &pass);
            let normal = layer.post_attention_layernorm.forward(x.clone());
            x + layer.mlp.forward(normal, &pass)
        });
        model.norm.forward(x)
    }
}

impl LlamaAttention {
    fn forward(
        &self,
        x: Tensor<3>,
        rotation: &Rotation,
        mask: &Tensor<4>,
        kept: Option<&mut Option<KeysValues>>,
        pass: &LayerPass<'_>,
    ) -> Tensor<3> {
        let query = pass.linear("self_attn.q_proj", &self.q_proj, x.clone());
        let key = pass.linear("self_attn.k_proj", &self.k_proj, x.clone());
        let value = pass.linear("self_attn.v_proj", &self.v_proj, x);
        let query = rotation.turn(split(query, self.heads));
        let key = rotation.turn(split(key, self.groups));
        let value = split(value, self.groups);
        let (key, value) = cached(key, value, kept);
        let scale = 1.0 / (query.dims()[3] as f64).sqrt();
        let mixed = attention(query, key, value, scale, mask.clone());
        pass.linear("self_attn.o_proj", &self.o_proj, joined(mixed))
    }
}

/// GPT-Neo.
#[derive(Module, Debug)]
pub struct GptNeo {
    transformer: NeoModel,
    lm_head: Option<Linear>,
}

#[derive(Module, Debug)]
struct NeoModel {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<NeoLayer>,
    ln_f: LayerNorm,
}

#[derive(Module, Debug)]
struct NeoLayer {
    ln_1: LayerNorm,
    attn: NeoAttentionLayer,
    ln_2: LayerNorm,
    mlp: Mlp,
}

/// A level of the published names.
#[derive(Module, Debug)]
struct NeoAttentionLayer {
    attention: NeoAttention,
}

#[derive(Module, Debug)]
struct NeoAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
    window: Option<usize>,
}

impl GptNeo {
    fn new(config: &LanguageConfig, device: &Device) -> Self {
        let &LanguageConfig {
            width,
            hidden,
            heads,
            epsilon,
            vocabulary,
            context,
            ..
        } = config;
        let norm = || LayerNorm::new(width, epsilon, device);
        let linear = |bias| LinearConfig::new(width, width).with_bias(bias).init(device);
        let layer = |window: &Option<usize>| NeoLayer {
            ln_1: norm(),
            attn: NeoAttentionLayer {
                attention: NeoAttention {
                    q_proj: linear(false),
                    k_proj: linear(false),
                    v_proj: linear(false),
                    out_proj: linear(true),
                    heads,
                    window: *window,
                },
            },
            ln_2: norm(),
            mlp: Mlp::new(width, hidden, device),
        };
        let head = LinearConfig::new(width, vocabulary).with_bias(false);
        Self {
            transformer: NeoModel {
                wte: EmbeddingConfig::new(vocabulary, width).init(device),
                wpe: EmbeddingConfig::new(context, width).init(device),
                h: config.windows.iter().map(layer).collect(),
                ln_f: norm(),
            },
            lm_head: (!config.tied).then(|| head.init(device)),
        }
    }

    fn states(
        &self,
        tokens: Tensor<2, Int>,
        cache: Option<&mut Cache>,
        pass: &Pass<'_>,
    ) -> Tensor<3> {
        let model = &self.transformer;
        let start = cache.as_ref().map_or(0, |cache| cache.tokens);
        let [_, count] = tokens.dims();
        let positions = model.wpe.weight.val().narrow(0, start, count);
        let x = model.wte.forward(tokens) + positions.unsqueeze();
        // Layers of one kind share their mask.
        let mut masks: BTreeMap<Option<usize>, Tensor<4>> = BTreeMap::new();
        for layer in &model.h {
            let window = layer.attn.attention.window;
            masks
                .entry(window)
                .or_insert_with(|| mask(count, start + count, window, &x.device()));
        }
        let x = through(&model.h, x, cache, |index, layer, x, kept| {
            let pass = pass.of_layer("transformer.h", index);
            let attention = &layer.attn.attention;
            let normal = layer.ln_1.forward(x.clone());
            let x = x + attention.forward(normal, &masks[&attention.window], kept, &pass);
            let normal = layer.ln_2.forward(x.clone());
            x + layer.mlp.forward(normal, &pass)
        });
        model.ln_f.forward(x)
    }
}

impl NeoAttention {
    fn forward(
        &self,
        x: Tensor<3>,
        mask: &Tensor<4>,
        kept: Option<&mut Option<KeysValues>>,
        pass: &LayerPass<'_>,
    ) -> Tensor<3> {
        let linear = |name, linear, x| split(pass.linear(name, linear, x), self.heads);
        let query = linear("attn.attention.q_proj", &self.q_proj, x.clone());
        let key = linear("attn.attention.k_proj", &self.k_proj, x.clone());
        let value = linear("attn.attention.v_proj", &self.v_proj, x);
        let (key, value) = cached(key, value, kept);
        // GPT-Neo does not scale its scores.
        let mixed = attention(query, key, value, 1.0, mask.clone());
        pass.linear("attn.attention.out_proj", &self.out_proj, joined(mixed))
    }
}
