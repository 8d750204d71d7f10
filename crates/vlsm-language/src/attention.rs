//! Attention with a cache of keys and values.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Keys and values of a layer, `[batch, heads, tokens, width]`.
#[derive(Debug, Clone)]
pub(crate) struct KeysValues(Tensor<4>, Tensor<4>);

/// Keys and values with those of earlier tokens before them, which the cache then holds too.
pub(crate) fn cached(
    key: Tensor<4>,
    value: Tensor<4>,
    cache: Option<&mut Option<KeysValues>>,
) -> (Tensor<4>, Tensor<4>) {
    let Some(cache) = cache else {
        return (key, value);
    };
    let (key, value) = match cache.take() {
        Some(KeysValues(keys, values)) => (
            Tensor::cat(vec![keys, key], 2),
            Tensor::cat(vec![values, value], 2),
        ),
        None => (key, value),
    };
    *cache = Some(KeysValues(key.clone(), value.clone()));
    (key, value)
}

/// Which of the earlier tokens a layer's queries see, as what is added to the scores, `[1, 1, queries, keys]`: all up to their own,
/// or the last `window` of these. The queries are the last of the keys.
pub(crate) fn mask(
    queries: usize,
    keys: usize,
    window: Option<usize>,
    device: &Device,
) -> Tensor<4> {
    let start = keys - queries;
    let mut values = vec![0f32; queries * keys];
    for query in 0..queries {
        let own = start + query;
        let first = window.map_or(0, |window| (own + 1).saturating_sub(window));
        for (key, value) in values[query * keys..(query + 1) * keys]
            .iter_mut()
            .enumerate()
        {
            if key > own || key < first {
                // The softmax of it is 0.
                *value = -1e30;
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [1, 1, queries, keys]), device)
}

/// `softmax(scale q k^T + mask) v`; a head of keys and values serves as many heads of queries.
pub(crate) fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    scale: f64,
    mask: Tensor<4>,
) -> Tensor<4> {
    let [batch, heads, tokens, width] = query.dims();
    let [_, groups, keys, _] = key.dims();
    // The heads of a group are one after another.
    let query = query.reshape([batch, groups, heads / groups * tokens, width]);
    let scores = (query * scale).matmul(key.swap_dims(2, 3));
    let scores = scores.reshape([batch, heads, tokens, keys]) + mask;
    let weights = softmax(scores, 3).reshape([batch, groups, heads / groups * tokens, keys]);
    weights.matmul(value).reshape([batch, heads, tokens, width])
}

/// `[batch, tokens, heads x width]` to `[batch, heads, tokens, width]`.
pub(crate) fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads])
        .swap_dims(1, 2)
}

/// The reverse of [`split`].
pub(crate) fn joined(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, width] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * width])
}
