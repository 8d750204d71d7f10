//! Learnt prompts: what the methods that add tokens to the towers share. Names in files are those of TuneVLSeg (Adhikari et al.
//! 2024, "TuneVLSeg: Prompt tuning benchmark for vision-language segmentation models").

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{BaseShape, Start, Tensors, TowerShape, error, start};
use crate::error::Result;
use crate::init::{normal, torch_default, uniform};
use crate::tensor_file::HostTensor;
use crate::weights::{self, to_host};

/// Words that text prompts start from by default, as in CoOp and TuneVLSeg.
pub(super) const WORDS: &str = "a photo of a";

/// Standard deviation of tokens that do not start from words.
const DEVIATION: f64 = 0.02;

/// Extra tokens beyond any published number.
const MOST_TOKENS: usize = 1024;

/// Tokens of a prompt that are not learnt: its start, a word and its end.
const OF_PROMPT: usize = 3;

/// Refuses a number of tokens that does not fit the context, and a depth that a tower does not have.
pub(super) fn check(
    base: &BaseShape,
    towers: &[&TowerShape],
    tokens: usize,
    depth: usize,
    in_text: bool,
) -> Result<()> {
    let most = match in_text {
        true => base.context.saturating_sub(OF_PROMPT).min(MOST_TOKENS),
        false => MOST_TOKENS,
    };
    if tokens == 0 || tokens > most {
        let context = match in_text {
            true => format!(
                ": the text tower takes {} tokens, {OF_PROMPT} of which are a prompt's start, a word and its end",
                base.context
            ),
            false => String::new(),
        };
        return error(format!(
            "`tokens` is {tokens}; it must be at least 1 and at most {most}{context}"
        ));
    }
    let layers = towers.iter().map(|tower| tower.layers).min().unwrap_or(0);
    if depth == 0 || depth > layers {
        return error(format!(
            "`depth` is {depth}; it must be at least 1 and at most {layers}, the number of layers of {} that the decoder sees",
            base.name
        ));
    }
    Ok(())
}

/// The vision tower of a base, for the method `kind`.
///
/// # Errors
/// If it has no transformer layers.
pub(super) fn vision<'a>(base: &'a BaseShape, kind: &str) -> Result<&'a TowerShape> {
    base.vision.as_ref().or_else(|tower| {
        error(format!(
            "`kind = \"{kind}\"` adds tokens to the vision tower, but that of {} is {tower}, without transformer layers; use \
             `kind = \"coop\"`, which adds them to the text tower alone",
            base.name
        ))
    })
}

/// Refuses a base whose model encodes texts without images, for the method `kind`; `other` is one that it can have.
pub(super) fn unpaired<T>(base: &BaseShape, kind: &str, other: &str) -> Result<T> {
    error(format!(
        "`kind = \"{kind}\"` encodes a text for each image, which a {} cannot do here: it encodes a text once for all images; use \
         `kind = \"{other}\"`, or a CLIPSeg or BiomedCLIPSeg as the base",
        base.name
    ))
}

/// Learnt tokens for the first layers of a tower.
#[derive(Module, Debug)]
pub struct Context {
    /// `[depth, tokens, width]`.
    context_vectors: Param<Tensor<3>>,
}

impl Context {
    pub(super) fn new(depth: usize, tokens: usize, width: usize, device: &Device) -> Self {
        Self {
            context_vectors: Initializer::Zeros.init([depth, tokens, width], device),
        }
    }

    /// The tokens `[1, tokens, width]` of a layer, if it has some.
    pub(super) fn of(&self, layer: usize) -> Option<Tensor<3>> {
        let vectors = self.context_vectors.val();
        let [depth, _, _] = vectors.dims();
        (layer < depth).then(|| vectors.narrow(0, layer, 1))
    }

    /// The number of tokens of a layer.
    pub(super) fn count(&self) -> usize {
        self.context_vectors.dims()[1]
    }

    /// Initial values where the tokens of the first layer start from words, as many as there are of both.
    ///
    /// # Errors
    /// If the base has no token embeddings.
    pub(super) fn start(&self, base: &dyn Start, prefix: &str, words: &str) -> Result<Tensors> {
        let vectors = self.context_vectors.val();
        let [depth, tokens, width] = vectors.dims();
        let mut data = to_host(vectors);
        let words = start::words(base, prefix, words)?;
        for (token, word) in data.chunks_mut(width).take(tokens).zip(words) {
            token.copy_from_slice(&word);
        }
        let value = HostTensor {
            shape: vec![depth, tokens, width],
            data,
        };
        Ok(Tensors::from([(VECTORS.to_owned(), value)]))
    }
}

/// Name of the learnt tokens in files.
const VECTORS: &str = "context_learner.context_vectors";

/// A layer normalisation, with PyTorch's names.
#[derive(Module, Debug)]
pub struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl Norm {
    pub(super) fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([width], device),
            bias: Initializer::Zeros.init([width], device),
        }
    }

    /// `[..., width]` to the same shape, with PyTorch's epsilon.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        vlsm_kernels::layer_norm(x, self.weight.val(), self.bias.val(), 1e-5)
    }
}

/// A method's parameters with the initial values of TuneVLSeg: tokens from N(0, 0.02^2), linear layers as PyTorch's; those whose
/// names end with one of `he` from N(0, 2 / inputs) (He et al. 2015), attention's input projection as Glorot and Bengio (2010), and
/// those that end with one of `kept` as they are.
pub(super) fn initialised<M: Module>(adapters: M, seed: u64, he: &[&str], kept: &[&str]) -> M {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut inputs = 1;
    weights::fill(adapters, |name, shape| {
        let count: usize = shape.iter().product();
        let is = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if let [_, columns] = shape {
            inputs = *columns;
        }
        let deviation = match () {
            () if is(&["context_vectors"]) => DEVIATION,
            () if is(he) => (2.0 / inputs as f64).sqrt(),
            // Queries, keys and values are initialised as one matrix.
            () if is(&["in_proj_weight"]) => {
                let limit = (6.0 / (shape[0] + shape[1]) as f32).sqrt();
                return Some(uniform(count, limit, &mut rng));
            }
            () if is(kept) => return None,
            () => return Some(torch_default(count, inputs, &mut rng)),
        };
        Some(normal(count, deviation, &mut rng))
    })
}
