//! Encoded prompts and images, which must not depend on what was encoded with them or before them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use burn::tensor::{Device, Tensor};
use vlsm_models::predict::{PromptEncoder, PromptStates};
use vlsm_models::weights::to_host;
use vlsm_models::{
    Base, DecoderConfig, HiddenStates, Model, NetworkConfig, SegmentationModel, ZeroShotConfig,
};

const PROMPTS: [&str; 5] = [
    "polyp",
    "one small round polyp",
    "a red disc to the left of a grey ring",
    "car",
    "the sky above the town",
];

/// A CLIPSeg with a text tower as wide as BiomedCLIP's projection, and a vision tower as wide as ViT-B/16.
fn wide() -> Base {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = r#"{
        "model_type": "clipseg", "projection_dim": 24, "reduce_dim": 16, "extract_layers": [0, 1],
        "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32,
        "text_config": {"hidden_size": 640, "intermediate_size": 1280, "num_hidden_layers": 2,
                        "num_attention_heads": 2, "pad_token_id": 49407},
        "vision_config": {"hidden_size": 768, "intermediate_size": 1536, "num_hidden_layers": 2,
                          "num_attention_heads": 12, "image_size": 48, "patch_size": 16}
    }"#;
    std::fs::write(&path, config).unwrap();
    let config = NetworkConfig::read(&path).unwrap();
    let preprocessing = config.preprocessing();
    Base::random(&config, preprocessing, 3, &Device::flex()).unwrap()
}

fn bits(states: HiddenStates) -> Vec<u32> {
    let values = states.into_iter().flat_map(to_host);
    values.map(f32::to_bits).collect()
}

/// Killed and resumed, a training meets its prompts in other groups: they must be the same to the bit.
#[test]
fn a_prompt_is_the_same_whatever_it_is_encoded_with() {
    let base = wide();
    let training = Model::new(&base, DecoderConfig::default().into(), 0).unwrap();
    let alone = |prompt: &str| {
        let states = PromptStates::for_model(&training).unwrap();
        let encoder = PromptEncoder::training(&base.tokenizer).with_states(states);
        bits(encoder.encode(&training, &[prompt]).unwrap())
    };
    let one_by_one = PROMPTS.map(alone).concat();
    let states = PromptStates::for_model(&training).unwrap();
    let encoder = PromptEncoder::training(&base.tokenizer).with_states(states);
    assert_eq!(
        bits(encoder.encode(&training, &PROMPTS).unwrap()),
        one_by_one
    );
    // And in an evaluation, with the states of the training or without.
    let model = Model::new(&base, ZeroShotConfig::default().into(), 0).unwrap();
    let encoder = PromptEncoder::frozen(&base.tokenizer).unwrap();
    assert_eq!(bits(encoder.encode(&model, &PROMPTS).unwrap()), one_by_one);
}

/// Images too: a training that was killed finds other ones in the cache of features.
#[test]
fn an_image_is_the_same_whatever_it_is_encoded_with() {
    let base = wide();
    let model = Model::new(&base, DecoderConfig::default().into(), 0).unwrap();
    let noise = burn::tensor::Distribution::Normal(0.0, 1.0);
    let pixels = Tensor::<4>::random([5, 3, 48, 48], noise, &Device::flex());
    let states = |first, count| model.vision_states(pixels.clone().narrow(0, first, count));
    let together = states(0, 5);
    for (first, count) in [(0, 1), (4, 1), (1, 2), (2, 3)] {
        let own = together.iter().map(|x| x.clone().narrow(0, first, count));
        let own = bits(own.collect());
        assert_eq!(bits(states(first, count)), own, "{count} images");
    }
}

/// What is kept of a prompt is as long as the prompt, not as the longest possible one.
#[test]
fn a_short_prompt_of_a_cris_is_kept_short() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/cris");
    let base = Base::load(folder.to_str().unwrap(), &Device::flex()).unwrap();
    let model = Model::new(&base, ZeroShotConfig::default().into(), 0).unwrap();
    let tokens = |ids: &[&[u32]]| model.tokens(ids).unwrap();
    let (short, long): (&[u32], &[u32]) = (&[38, 4, 39], &[38, 9, 7, 6, 5, 39]);
    let alone = model.text_states(&tokens(&[short]));
    assert_eq!(alone[0].dims()[1], 3);
    // The mask is the same alone and together with a longer prompt.
    let side = base.preprocessing.image_size;
    let features = model.encode_image(Tensor::ones([2, 3, side, side], &Device::flex()));
    let features = features.unwrap();
    let both = model.encode_text(&tokens(&[short, long])).unwrap();
    let both = to_host(model.decode(&features, both).unwrap());
    let one: Vec<_> = features.iter().map(|x| x.clone().narrow(0, 0, 1)).collect();
    let alone = model.condition_text(alone).unwrap();
    let alone = to_host(model.decode(&one, alone).unwrap());
    assert_eq!(alone, both[..alone.len()]);
}
