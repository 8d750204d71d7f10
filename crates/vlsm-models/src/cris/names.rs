//! Names and layouts of parameters in published files and in the module.
//!
//! Files are CRIS checkpoints (with `module.` before each name after training in several processes, `net.` in a Lightning
//! checkpoint), or OpenAI's CLIP. Both have OpenAI's names in the text tower, where the module has Transformers', and one
//! matrix for the three projections of an attention.

use std::collections::BTreeMap;

use crate::files::without_wrappers;
use crate::tensor_file::HostTensor;

type Tensors = BTreeMap<String, HostTensor>;

/// The text tower in files and in the module.
const TEXT: [(&str, &str); 4] = [
    (
        "backbone.token_embedding.weight",
        "backbone.text_model.embeddings.token_embedding.weight",
    ),
    (
        "backbone.positional_embedding",
        "backbone.text_model.embeddings.position_embedding.weight",
    ),
    (
        "backbone.ln_final.",
        "backbone.text_model.final_layer_norm.",
    ),
    (
        "backbone.transformer.resblocks.",
        "backbone.text_model.encoder.layers.",
    ),
];

/// Parts of a text layer in files and in the module.
const TEXT_LAYER: [(&str, &str); 5] = [
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.", ".self_attn."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
];

/// A matrix `[text width, projection]` in files, a linear layer's `[projection, text width]` in the module.
const PROJECTION: &str = "backbone.text_projection";

/// Tensors under the names of a CRIS: without wrappers, and a CLIP's after `backbone.`.
pub(super) fn unwrapped(tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
    let tensors = tensors
        .into_iter()
        .map(|(name, tensor)| (without_wrappers(&name).to_owned(), tensor));
    let tensors: Tensors = tensors.collect();
    if tensors.keys().any(|name| name.starts_with("visual.")) {
        let tensors = tensors.into_iter();
        return tensors
            .map(|(name, tensor)| (format!("backbone.{name}"), tensor))
            .collect();
    }
    tensors
}

/// Published names and layouts to the module's.
///
/// # Errors
/// If projections of attention cannot be divided in three; the tensor is named.
pub fn from_file(
    tensors: BTreeMap<String, HostTensor>,
) -> std::result::Result<BTreeMap<String, HostTensor>, String> {
    let mut renamed = Tensors::new();
    for (name, tensor) in unwrapped(tensors) {
        if name == PROJECTION {
            renamed.insert(format!("{PROJECTION}.weight"), transposed(tensor));
            continue;
        }
        let mut new = name.clone();
        for (file, module) in TEXT {
            if let Some(rest) = name.strip_prefix(file) {
                new = format!("{module}{rest}");
            }
        }
        if new.starts_with(TEXT[3].1) {
            for (file, module) in TEXT_LAYER {
                new = new.replace(file, module);
            }
        }
        match new.split_once(".in_proj_") {
            Some((layer, kind)) => {
                let rows = tensor.shape.first().copied().unwrap_or(0);
                if rows == 0 || rows % 3 != 0 {
                    let shape = &tensor.shape;
                    return Err(format!(
                        "`{name}` has the shape {shape:?}, not three times a width"
                    ));
                }
                let mut shape = tensor.shape.clone();
                shape[0] = rows / 3;
                let thirds = tensor.data.chunks((tensor.data.len() / 3).max(1));
                for (part, third) in ["q", "k", "v"].iter().zip(thirds) {
                    let tensor = HostTensor {
                        shape: shape.clone(),
                        data: third.to_vec(),
                    };
                    renamed.insert(format!("{layer}.{part}_proj.{kind}"), tensor);
                }
            }
            None => drop(renamed.insert(new, tensor)),
        }
    }
    Ok(renamed)
}

/// The module's names and layouts to the published ones.
pub fn to_file(tensors: BTreeMap<String, HostTensor>) -> BTreeMap<String, HostTensor> {
    let mut renamed = Tensors::new();
    for (name, tensor) in tensors {
        if name == format!("{PROJECTION}.weight") {
            renamed.insert(PROJECTION.into(), transposed(tensor));
            continue;
        }
        let mut new = name.clone();
        if name.starts_with(TEXT[3].1) {
            for (file, module) in TEXT_LAYER {
                new = new.replace(module, file);
            }
        }
        for (file, module) in TEXT {
            if let Some(rest) = new.strip_prefix(module) {
                new = format!("{file}{rest}");
                break;
            }
        }
        // Names are in order: keys, then queries, then values.
        let projection = ["k", "q", "v"]
            .iter()
            .enumerate()
            .find_map(|(place, part)| {
                let (layer, kind) = new.split_once(&format!(".{part}_proj."))?;
                Some((place, format!("{layer}.in_proj_{kind}")))
            });
        match projection {
            // The pool's projections are apart in files too.
            Some((place, joined)) if !joined.contains(".attnpool.") => {
                let whole = renamed.entry(joined).or_insert_with(|| HostTensor {
                    shape: {
                        let mut shape = tensor.shape.clone();
                        shape[0] *= 3;
                        shape
                    },
                    data: vec![0.0; 3 * tensor.data.len()],
                });
                let count = tensor.data.len();
                let start = [1, 0, 2][place] * count;
                whole.data[start..start + count].copy_from_slice(&tensor.data);
            }
            _ => drop(renamed.insert(new, tensor)),
        }
    }
    renamed
}

/// A matrix with rows and columns exchanged; anything else as it is.
fn transposed(tensor: HostTensor) -> HostTensor {
    let [rows, columns] = tensor.shape[..] else {
        return tensor;
    };
    if tensor.data.len() != rows * columns {
        return tensor;
    }
    let column = |column| (0..rows).map(move |row| row * columns + column);
    let data = (0..columns).flat_map(column).map(|at| tensor.data[at]);
    HostTensor {
        shape: vec![columns, rows],
        data: data.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cris::{CrisConfig, random_weights};

    /// All weights go to published names and back; with wrappers, or as a CLIP, they are found the same.
    #[test]
    fn names_go_both_ways() {
        let config = CrisConfig::tiny();
        let weights = random_weights(&config, 1);
        let published = to_file(weights.clone());
        let in_proj = &published["decoder.layers.1.multihead_attn.in_proj_weight"];
        assert_eq!(in_proj.shape, [192, 64]);
        let query = &weights["decoder.layers.1.multihead_attn.q_proj.weight"];
        assert_eq!(in_proj.data[..64 * 64], query.data);
        assert_eq!(from_file(published.clone()).unwrap(), weights);
        for wrapper in ["module.", "net.", "net.module."] {
            let wrap = |(name, tensor)| (format!("{wrapper}{name}"), tensor);
            let wrapped = published.clone().into_iter().map(wrap).collect();
            assert_eq!(unwrapped(wrapped), published);
        }
    }

    /// Rows and columns: 2x3 to 3x2.
    #[test]
    fn matrices_are_transposed() {
        let tensor = transposed(HostTensor {
            shape: vec![2, 3],
            data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        });
        assert_eq!(tensor.shape, [3, 2]);
        assert_eq!(tensor.data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
