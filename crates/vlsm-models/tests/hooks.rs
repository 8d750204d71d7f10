//! What a method's hooks do to the towers.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use vlsm_models::TokenBatch;
use vlsm_models::clip::config::{BertConfig, TextConfig, VisionConfig};
use vlsm_models::clip::{TextModel, TextStates};
use vlsm_models::methods::{Adaptation, LayerAdapters, Tower, Unadapted};
use vlsm_models::weights::{self, to_host};

/// Extra tokens in one tower: for some layers those that enter it.
#[derive(Debug)]
struct Prompts {
    tower: Tower,
    layers: BTreeMap<usize, Tensor<3>>,
    text_taps: Vec<usize>,
}

impl Prompts {
    fn new(tower: Tower, layers: impl IntoIterator<Item = (usize, Tensor<2>)>) -> Self {
        let layers = layers.into_iter();
        Self {
            tower,
            layers: layers.map(|(layer, x)| (layer, x.unsqueeze())).collect(),
            text_taps: vec![0, 1],
        }
    }
}

impl Adaptation for Prompts {
    fn tokens(&self, tower: Tower, layer: usize) -> Option<Tensor<3>> {
        let tokens = self.layers.get(&layer).cloned();
        tokens.filter(|_| tower == self.tower)
    }

    fn text_taps(&self) -> &[usize] {
        &self.text_taps
    }
}

/// Text taps alone.
fn plain() -> Prompts {
    Prompts::new(Tower::Text, [])
}

fn wave<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
    let values = (0..shape.iter().product()).map(|at: usize| (at as f32 * step).sin());
    let values = TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec());
    Tensor::from_data(values, &Device::flex())
}

fn off<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let pairs = to_host(a).into_iter().zip(to_host(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A timm tower, so that no norm comes between the embeddings and the first layer.
fn vision(timm: bool) -> VisionConfig {
    VisionConfig {
        hidden_size: 12,
        intermediate_size: 20,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        image_size: 24,
        patch_size: 8,
        timm,
        ..VisionConfig::default()
    }
}

fn text(bert: bool) -> TextConfig {
    TextConfig {
        vocab_size: 20,
        hidden_size: 12,
        intermediate_size: 20,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        max_position_embeddings: 10,
        eos_token_id: 19,
        pad_token_id: 0,
        bert: bert.then_some(BertConfig {
            positions: 12,
            token_types: 2,
            projection_hidden: 7,
        }),
        ..TextConfig::default()
    }
}

/// Extra vision tokens are run along with the patches, those of a deeper layer replace them, and no state has them.
#[test]
fn vision_tokens_enter_their_layers_and_no_state() {
    let tower = vision(true).init(&Device::flex());
    let pixels = wave([2, 3, 24, 24], 0.37);
    let (first, second) = (wave([2, 12], 0.3), wave([5, 12], 0.7));
    let method = Prompts::new(Tower::Vision, [(0, first.clone()), (1, second.clone())]);
    let states = tower.forward(pixels.clone(), &[0, 1, 2, 3], &method);
    assert!(states.iter().all(|state| state.dims() == [2, 10, 12]));

    let with = |x: Tensor<3>, extra: &Tensor<2>| {
        let [count, width] = extra.dims();
        let extra = extra.clone().unsqueeze::<3>().expand([2, count, width]);
        Tensor::cat(vec![x.narrow(1, 0, 10), extra], 1)
    };
    let run = |x, layer: usize| tower.layers()[layer].forward(x, false, LayerAdapters::default());
    let x = tower.forward(pixels.clone(), &[0], &Unadapted).remove(0);
    assert_eq!(off(states[0].clone(), x.clone()), 0.0);
    let x = run(with(x, &first), 0);
    assert_eq!(off(states[1].clone(), x.clone().narrow(1, 0, 10)), 0.0);
    let x = run(with(x, &second), 1);
    assert_eq!(off(states[2].clone(), x.clone().narrow(1, 0, 10)), 0.0);
    let x = run(x, 2);
    assert_eq!(off(states[3].clone(), x.narrow(1, 0, 10)), 0.0);

    // CLIP's norm sees them too: they differ from extra tokens added after it.
    let tower = vision(false).init(&Device::flex());
    let prompts = |scale: f32| Prompts::new(Tower::Vision, [(0, first.clone() * scale)]);
    let state = |method: &dyn Adaptation| tower.forward(pixels.clone(), &[1], method).remove(0);
    assert!(off(state(&prompts(1.0)), state(&Unadapted)) > 1e-4);
    assert!(off(state(&prompts(1.0)), state(&prompts(1000.0))) < 1e-2);
}

/// Extra text tokens that are those of words are those words: prompts of other lengths, the pooled state, the tapped ones.
#[test]
fn text_tokens_are_like_words_between_start_and_prompt() {
    for bert in [false, true] {
        let config = text(bert);
        let tower = TextModel::new(&config, &Device::flex());
        let table = weights::export(&tower, |name| name.ends_with("token_embedding.weight"));
        let table = table.into_values().next().unwrap();
        let words = [7, 9].map(|id: usize| table.data[id * 12..][..12].to_vec());
        let words = TensorData::new(words.concat(), [2, 12]);
        let words = Tensor::<2>::from_data(words, &Device::flex());
        let tokens = |prompts: &[&[u32]]| TokenBatch::new(prompts, &config).unwrap();

        let method = Prompts::new(Tower::Text, [(0, words)]);
        let found = tower.forward(&tokens(&[&[18, 3, 19], &[18, 4, 5, 6, 19]]), &method);
        let long = tokens(&[&[18, 7, 9, 3, 19], &[18, 7, 9, 4, 5, 6, 19]]);
        let expected = tower.forward(&long, &plain());
        assert_eq!(off(found.pooled, expected.pooled), 0.0, "{bert}");
        assert_eq!(found.tapped.len(), 2);
        for (found, expected) in found.tapped.into_iter().zip(expected.tapped) {
            assert_eq!(off(found, expected), 0.0, "{bert}");
        }
    }
}

/// Tokens of their own for each prompt: a prompt has the states that it has alone with its tokens, also among prompts of other lengths.
#[test]
fn each_prompt_can_have_its_own_tokens() {
    for bert in [false, true] {
        let config = text(bert);
        let tower = TextModel::new(&config, &Device::flex());
        let prompts: [&[u32]; 3] = [&[18, 4, 5, 6, 19], &[18, 3, 19], &[18, 7, 8, 9, 19]];
        let all = wave([3, 2, 12], 0.3);
        let states = |prompts: &[&[u32]], extra: Tensor<3>| {
            let method = Prompts {
                tower: Tower::Text,
                layers: BTreeMap::from([(0, extra.clone()), (2, extra * 2.0)]),
                text_taps: vec![0, 1],
            };
            let tokens = TokenBatch::new(prompts, &config).unwrap();
            tower.forward(&tokens, &method)
        };
        let together = states(&prompts, all.clone());
        for (row, prompt) in prompts.iter().enumerate() {
            let alone = states(&[prompt], all.clone().narrow(0, row, 1));
            let row = |x: &Tensor<2>| x.clone().narrow(0, row, 1);
            assert!(off(row(&together.pooled), alone.pooled) < 1e-6, "{bert}");
            for (together, alone) in together.tapped.iter().zip(alone.tapped) {
                assert!(off(row(together), alone) < 1e-6, "{bert}");
            }
        }
    }
}

/// Words are given without the extra tokens; deeper layers get their own.
#[test]
fn deeper_text_tokens_replace_those_before() {
    let config = text(false);
    let tower = config.init(&Device::flex());
    let tokens = TokenBatch::new(&[&[18, 3, 19][..], &[18, 4, 5, 19]], &config).unwrap();
    let words = |layers: Vec<(usize, Tensor<2>)>| {
        let method = Prompts::new(Tower::Text, layers);
        let (words, TextStates { pooled, tapped }) = tower.words(&tokens, &method);
        assert_eq!(words.dims(), [2, 4, 12]);
        // The second prompt is the longest: its end is the last word.
        assert_eq!(
            off(
                pooled.narrow(0, 1, 1),
                words.clone().narrow(0, 1, 1).narrow(1, 3, 1).squeeze_dim(1)
            ),
            0.0
        );
        (words, tapped)
    };
    let (a, b) = (wave([2, 12], 0.3), wave([2, 12], 0.7));
    let (one, one_taps) = words(vec![(0, a.clone())]);
    let (two, two_taps) = words(vec![(0, a.clone()), (2, b.clone())]);
    // Layer 2 is the last: what is tapped after layers 0 and 1 stays, what comes out of it does not.
    for (one, two) in one_taps.into_iter().zip(two_taps) {
        assert_eq!(off(one, two), 0.0);
    }
    assert!(off(one, two.clone()) > 1e-4);
    // A prompt's start attends to itself alone.
    let (plain, _) = words(Vec::new());
    assert_eq!(off(plain.narrow(1, 0, 1), two.narrow(1, 0, 1)), 0.0);
    // Another number of tokens than before.
    words(vec![(0, a), (1, wave([3, 12], 0.2))]);
}
