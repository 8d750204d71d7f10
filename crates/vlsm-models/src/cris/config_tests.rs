//! Tests of the configuration.

use super::*;

#[test]
fn written_configuration_reads_back() {
    for config in [CrisConfig::default(), CrisConfig::tiny()] {
        config.validate().unwrap();
        assert_eq!(
            CrisConfig::parse(&config.to_json().unwrap().to_string()),
            Ok(config)
        );
    }
}

#[test]
fn impossible_models_name_the_field() {
    for (text, field) in [
        (r#"{"model_type":"clipseg"}"#, "model_type"),
        (
            r#"{"model_type":"cris","decoder_heads":7}"#,
            "decoder_heads",
        ),
        (
            r#"{"model_type":"cris","fpn_out":[256,256,1024]}"#,
            "fpn_out",
        ),
        (
            r#"{"model_type":"cris","context_length":78}"#,
            "context_length",
        ),
        (r#"{"model_type":"cris","image_size":400}"#, "image_size"),
        (r#"{"model_type":"cris","dropout":1.0}"#, "dropout"),
        (
            r#"{"model_type":"cris","vision_config":{"width":"x"}}"#,
            "vision_config.width",
        ),
        (
            r#"{"model_type":"cris","vision_config":{"width":4611686018427387904}}"#,
            "vision_config.width",
        ),
        (
            r#"{"model_type":"cris","vision_config":{"layers":[3,4,0,3]}}"#,
            "vision_config.layers",
        ),
    ] {
        let error = CrisConfig::parse(text).unwrap_err();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn weights_with_impossible_numbers_are_refused() {
    let tensor = |shape: &[usize]| HostTensor {
        shape: shape.to_vec(),
        data: Vec::new(),
    };
    let huge = usize::MAX / 2;
    let names = [
        "visual.layer1.0.conv1.weight",
        "visual.attnpool.positional_embedding",
        "token_embedding.weight",
        "positional_embedding",
        "text_projection",
        "visual.layer1.18446744073709551615.conv1.weight",
    ];
    let tensors = names.map(|name| (format!("backbone.{name}"), tensor(&[huge, huge])));
    assert!(CrisConfig::of_weights(&BTreeMap::from(tensors)).is_err());
}
