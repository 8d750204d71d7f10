//! What there is to say of a network, by its architecture.

use serde::Serialize;
use vlsm_models::clip::config::TextConfig;
use vlsm_models::{Base, Network};

/// What is said of one architecture, as in a base's JSON.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum NetworkInfo {
    ClipSeg {
        patch_size: usize,
        taps: Vec<usize>,
        vision_layers: usize,
        vision_width: usize,
        decoder_width: usize,
        fresh_decoder: bool,
        upsampling: &'static str,
    },
    San {
        patch_size: usize,
        vision_layers: usize,
        vision_width: usize,
        side_layers: usize,
        side_width: usize,
        queries: usize,
        fresh_side_network: bool,
    },
    Cris {
        vision_blocks: [usize; 4],
        vision_width: usize,
        decoder_layers: usize,
        decoder_width: usize,
        fresh_decoder: bool,
    },
}

/// The text tower.
#[derive(Serialize)]
pub(super) struct TextInfo {
    text_layers: usize,
    text_width: usize,
    context_length: usize,
    projection_width: usize,
}

impl TextInfo {
    fn new(config: &TextConfig, projection: usize) -> Self {
        Self {
            text_layers: config.num_hidden_layers,
            text_width: config.hidden_size,
            context_length: config.max_position_embeddings,
            projection_width: projection,
        }
    }

    pub(super) fn text(&self) -> String {
        let tower = tower(self.text_layers, self.text_width);
        format!("{tower}, {} tokens", self.context_length)
    }
}

fn tower(layers: usize, width: usize) -> String {
    format!("{layers} layers, width {width}")
}

/// The architecture of a base, what its text tower is, the side of its output in pixels, and the rest.
pub(super) fn describe(base: &Base) -> (&'static str, TextInfo, usize, NetworkInfo) {
    let side = base.preprocessing.image_size;
    match &base.network {
        Network::ClipSeg(clipseg) => {
            let config = &clipseg.config;
            let architecture = match &config.text_config.bert {
                Some(_) => "BiomedCLIPSeg",
                None => "CLIPSeg",
            };
            let info = NetworkInfo::ClipSeg {
                patch_size: config.vision_config.patch_size,
                taps: config.extract_layers.clone(),
                vision_layers: config.vision_config.num_hidden_layers,
                vision_width: config.vision_config.hidden_size,
                decoder_width: config.reduce_dim,
                fresh_decoder: config.fresh_decoder,
                upsampling: if config.use_complex_transposed_convolution {
                    "three convolutions (refined)"
                } else {
                    "one transposed convolution"
                },
            };
            let text = TextInfo::new(&config.text_config, config.projection_dim);
            (architecture, text, config.output_size(side), info)
        }
        Network::San(san) => {
            let config = san.config();
            let info = NetworkInfo::San {
                patch_size: config.vision_config.patch_size,
                vision_layers: config.vision_config.num_hidden_layers,
                vision_width: config.vision_config.hidden_size,
                side_layers: config.side_config.num_hidden_layers,
                side_width: config.side_config.hidden_size,
                queries: config.side_config.num_queries,
                fresh_side_network: san.is_fresh(),
            };
            let text = TextInfo::new(&config.text_config, config.projection_dim);
            ("SAN", text, side, info)
        }
        Network::Cris(cris) => {
            let config = cris.config();
            let [_, width, _] = config.fpn_out;
            let info = NetworkInfo::Cris {
                vision_blocks: config.vision_config.layers,
                vision_width: config.vision_config.width,
                decoder_layers: config.decoder_layers,
                decoder_width: width,
                fresh_decoder: cris.is_fresh(),
            };
            let text = TextInfo {
                context_length: config.context_length,
                ..TextInfo::new(&config.text_config, config.projection_dim)
            };
            ("CRIS", text, side, info)
        }
    }
}

impl NetworkInfo {
    /// How the input is divided.
    pub(super) fn input(&self) -> String {
        match self {
            Self::ClipSeg { patch_size, .. } | Self::San { patch_size, .. } => {
                format!("patches of {patch_size}")
            }
            Self::Cris { .. } => "any multiple of 32".into(),
        }
    }

    /// The vision tower.
    pub(super) fn vision(&self) -> String {
        match self {
            Self::ClipSeg {
                vision_layers,
                vision_width,
                taps,
                ..
            } => format!("{}, taps {taps:?}", tower(*vision_layers, *vision_width)),
            Self::San {
                vision_layers,
                vision_width,
                ..
            } => tower(*vision_layers, *vision_width),
            Self::Cris {
                vision_blocks,
                vision_width,
                ..
            } => format!("ResNet, blocks {vision_blocks:?}, width {vision_width}"),
        }
    }

    /// What stands behind or beside the towers: its name, and what it is.
    pub(super) fn head(&self) -> (&'static str, String) {
        let random = |fresh: &bool| if *fresh { ", random" } else { "" };
        match self {
            Self::ClipSeg {
                decoder_width,
                fresh_decoder,
                upsampling,
                ..
            } => {
                let random = random(fresh_decoder);
                (
                    "decoder",
                    format!("width {decoder_width}, {upsampling}{random}"),
                )
            }
            Self::San {
                side_layers,
                side_width,
                queries,
                fresh_side_network,
                ..
            } => {
                let random = random(fresh_side_network);
                let tower = tower(*side_layers, *side_width);
                (
                    "side network",
                    format!("{tower}, {queries} queries{random}"),
                )
            }
            Self::Cris {
                decoder_layers,
                decoder_width,
                fresh_decoder,
                ..
            } => {
                let tower = tower(*decoder_layers, *decoder_width);
                ("decoder", format!("{tower}{}", random(fresh_decoder)))
            }
        }
    }
}
