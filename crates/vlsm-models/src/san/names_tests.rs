use super::*;

fn names(files: &[(&str, &[usize])]) -> Vec<String> {
    let files = files.iter().map(|(name, shape)| {
        let data = vec![0.0; shape.iter().product()];
        let shape = shape.to_vec();
        ((*name).to_owned(), HostTensor { shape, data })
    });
    let found = from_file(files.collect(), &SanConfig::default());
    let named = found.into_iter();
    named
        .map(|(name, tensor)| format!("{name} {:?}", tensor.shape))
        .collect()
}

#[test]
fn released_checkpoints() {
    let found = names(&[
        ("model.side_adapter_network.query_embed", &[1, 5, 4]),
        (
            "model.side_adapter_network.vit_model.patch_embed.proj.weight",
            &[4, 3, 2, 2],
        ),
        ("model.clip_visual_extractor.resblocks.2.ln_1.bias", &[4]),
        ("model.clip_visual_extractor.class_embedding", &[4]),
        ("model.clip_rec_head.resblocks.2.ln_1.bias", &[4]),
        ("model.clip_rec_head.proj", &[4, 2]),
        ("model.ov_classifier.bg_embed", &[1, 2]),
        ("model.ov_classifier.ln_final.bias", &[4]),
        ("model.criterion.empty_weight", &[3]),
        ("iteration", &[]),
    ]);
    assert_eq!(
        found,
        [
            "bg_embed [2]",
            "clip.text_model.final_layer_norm.bias [4]",
            "clip.vision_model.embeddings.class_embedding [4]",
            "clip.vision_model.encoder.layers.11.layer_norm1.bias [4]",
            "clip.vision_model.encoder.layers.2.layer_norm1.bias [4]",
            "clip.visual_projection.weight [2, 4]",
            "side_adapter_network.patch_embed.weight [4, 12]",
            "side_adapter_network.query_embed [5, 4]",
        ]
    );
}

/// Its fusion layers have the numbers of a map that is read backwards, and CLIP is in it three times.
#[test]
fn checkpoints_of_vlsm_adapter() {
    let found = names(&[
        (
            "net.side_adapter_network.fusion_layers.layer_3.input_proj.1.weight",
            &[2, 4, 1, 1],
        ),
        (
            "net.side_adapter_network.fusion_layers.layer_0.input_proj.0.bias",
            &[4],
        ),
        (
            "net.side_adapter_network.vit_model.blocks.0.attn.qkv.bias",
            &[6],
        ),
        (
            "net.clip_model.visual.transformer.resblocks.11.mlp.c_fc.bias",
            &[8],
        ),
        ("net.clip_rec_head.resblocks.2.mlp.c_fc.bias", &[8]),
        ("net.clip_model.text_projection", &[3, 2]),
    ]);
    assert_eq!(
        found,
        [
            "clip.text_projection.weight [2, 3]",
            "clip.vision_model.encoder.layers.11.mlp.fc1.bias [8]",
            "side_adapter_network.blocks.layers.0.self_attn.k_proj.bias [2]",
            "side_adapter_network.blocks.layers.0.self_attn.q_proj.bias [2]",
            "side_adapter_network.blocks.layers.0.self_attn.v_proj.bias [2]",
            "side_adapter_network.fusion_layers.0.norm.bias [4]",
            "side_adapter_network.fusion_layers.1.projection.weight [2, 4]",
        ]
    );
}

#[test]
fn plain_clips() {
    let openai = names(&[("visual.ln_pre.bias", &[4]), ("text_projection", &[3, 2])]);
    let transformers = names(&[
        ("vision_model.pre_layrnorm.bias", &[4]),
        ("text_projection.weight", &[2, 3]),
    ]);
    assert_eq!(openai, transformers);
    assert_eq!(
        openai,
        [
            "clip.text_projection.weight [2, 3]",
            "clip.vision_model.pre_layrnorm.bias [4]",
        ]
    );
}
