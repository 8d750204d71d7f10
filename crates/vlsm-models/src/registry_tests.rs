use std::collections::BTreeMap;

use super::*;
use crate::tensor_file::HostTensor;

#[test]
fn weights_alone_are_recognised_by_their_names() {
    let of = |name: &str| {
        let (shape, data) = (vec![0], Vec::new());
        let tensors = BTreeMap::from([(name.to_owned(), HostTensor { shape, data })]);
        Architecture::of_tensors(&tensors)
    };
    for name in [
        "model.side_adapter_network.query_embed",
        "net.side_adapter_network.query_embed",
        "module.side_adapter_network.query_embed",
        "visual.transformer.resblocks.0.ln_1.bias",
        "vision_model.encoder.layers.0.layer_norm1.bias",
    ] {
        assert_eq!(of(name), Some(Architecture::San), "{name}");
    }
    for name in [
        "neck.txt_proj.0.weight",
        "module.neck.txt_proj.0.weight",
        "net.neck.txt_proj.0.weight",
        "visual.layer1.0.conv1.weight",
    ] {
        assert_eq!(of(name), Some(Architecture::Cris), "{name}");
    }
    for name in [
        "clip.vision_model.encoder.layers.0.layer_norm1.bias",
        "visual.trunk.blocks.0.norm1.bias",
        "cris.neck.txt_proj.0.weight",
        "san.side_adapter_network.query_embed",
        "weight",
    ] {
        assert_eq!(of(name), None, "{name}");
    }
}

#[test]
fn presets_are_found_by_their_names() {
    for name in NetworkConfig::presets() {
        let (config, preprocessing) = NetworkConfig::preset(name).unwrap();
        let files = config.config_files(&preprocessing).unwrap();
        let (file, content) = &files[0];
        let text = content.to_string();
        let architecture = Architecture::of_config(Path::new(file), &text);
        assert_eq!(architecture.parse(&text), Ok(config), "{name}");
    }
    assert_eq!(NetworkConfig::preset("none"), None);
}

#[test]
fn parameters_of_an_adapter_file_belong_to_parts() {
    for (name, part) in [
        (
            "clipseg.clip.vision_model.post_layernorm.bias",
            Some("vision tower"),
        ),
        ("clipseg.decoder.film_mul.bias", Some("decoder")),
        ("san.bg_embed", Some("background")),
        ("cris.neck.txt_proj.0.weight", Some("neck")),
        ("v_attn_adapters.0.fc1.weight", None),
    ] {
        assert_eq!(part_of_base(name), part, "{name}");
    }
}
