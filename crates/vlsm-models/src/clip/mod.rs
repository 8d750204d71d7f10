//! CLIP's two towers (Radford et al. 2021), with the parameter names of Transformers, and
//! BiomedCLIP's text tower.

mod attention;
mod bert;
pub mod config;
mod encoder;
pub(crate) mod init;
mod layer_norm;
mod network;
pub mod openai;
mod stages;
mod templates;
mod text;
mod tokens;
mod vision;

pub use attention::{SelfAttention, SelfAttentionConfig};
pub use bert::BertTower;
pub use encoder::{Encoder, EncoderConfig, EncoderLayer, EncoderLayerConfig, Mlp, MlpConfig};
pub use layer_norm::LayerNorm;
pub use network::Clip;
pub(crate) use network::{mean_direction, unit_length};
pub(crate) use stages::Stages;
pub use templates::TEMPLATES;
pub use text::{TextModel, TextStates, TextTower};
pub(crate) use text::{adapted_embedding, embedding_states};
pub use tokens::TokenBatch;
pub use vision::VisionTower;
pub(crate) use vision::resize_positions;

/// The part of a base that a parameter of CLIP belongs to, by its name in the base; `None` for parameters outside `clip.`.
pub(crate) fn part(name: &str) -> Option<&'static str> {
    let parts = [
        ("clip.vision_model.", "vision tower"),
        ("clip.text_model.", "text tower"),
        ("clip.", "projections"),
    ];
    let mut parts = parts.into_iter();
    parts.find_map(|(start, part)| name.starts_with(start).then_some(part))
}
