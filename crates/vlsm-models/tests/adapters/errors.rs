//! Settings of adapters that are refused.

use burn::tensor::Device;
use serde_json::json;
use vlsm_models::{Adapters, ClipSegConfig, DenseConfig, MethodConfig, Profile};

use super::small;

#[test]
fn invalid_forms_are_errors_that_name_the_key() {
    let base = ClipSegConfig::rd64_refined().shape(Profile::Default);
    let cases = [
        (
            "shallow",
            json!({ "sublayers": "mlp" }),
            "`sublayers` belongs to kind \"dense\"",
        ),
        (
            "shallow",
            json!({ "connection": "parallel" }),
            "`connection`",
        ),
        (
            "lora",
            json!({ "activation": "gelu" }),
            "`activation` belongs to kinds \"dense\", \"shallow\"",
        ),
        (
            "dense",
            json!({ "projections": ["key"] }),
            "`projections` belongs to kinds \"lora\", \"dora\", \"ia3\"",
        ),
        ("decoder", json!({}), "bottleneck` belongs to kinds"),
        (
            "dense",
            json!({ "botleneck": 3 }),
            "`botleneck` is not a key",
        ),
        ("denser", json!({}), "the kinds are \"dense\", "),
        (
            "lora",
            json!({ "projections": ["query", "q"] }),
            "`projections[1]`",
        ),
        (
            "lora",
            json!({ "projections": [] }),
            "`projections` must name",
        ),
        (
            "lora",
            json!({ "projections": ["key", "key"] }),
            "each once",
        ),
        ("dense", json!({ "scale": 0.0 }), "`scale` is 0"),
        ("lora", json!({ "scale": 0.0 }), "`scale` is 0"),
        (
            "dense",
            json!({ "profile": "paper", "activation": "gelu" }),
            "`activation` is not as published",
        ),
        (
            "dense",
            json!({ "profile": "paper", "init": "zero" }),
            "`init` is not as published",
        ),
        (
            "dense",
            json!({ "bottleneck": [1, 2] }),
            "`bottleneck` has 2 widths for 10 layers",
        ),
        (
            "dense",
            json!({ "bottleneck": vec![1; 10], "text_layers": [9, 10, 11] }),
            "`text_bottleneck` has 10 widths for 3 layers",
        ),
        (
            "dense",
            json!({ "text_layers": [12] }),
            "other `text_layers`",
        ),
        ("lora", json!({ "bottleneck": 0 }), "at least 1"),
        (
            "dense",
            json!({ "cond_bottleneck": 0 }),
            "`cond_bottleneck`",
        ),
        (
            "dense",
            json!({ "towers": "vl", "cond_bottleneck": 3 }),
            "`cond_bottleneck` has no effect",
        ),
        (
            "shallow",
            json!({ "towers": "v", "text_layers": [3] }),
            "`text_layers` has no effect",
        ),
        (
            "lora",
            json!({ "towers": "v", "text_bottleneck": 3 }),
            "`text_bottleneck` has no effect",
        ),
        (
            "dense",
            json!({ "towers": "l", "layers": [3] }),
            "`layers` has no effect",
        ),
    ];
    for (kind, keys, part) in cases {
        let method = serde_json::from_value::<MethodConfig>(small(kind, keys));
        let error = match method {
            Ok(method) => {
                let adapters = Adapters::new(&method, &base, 0, &Device::flex());
                adapters.unwrap_err().to_string()
            }
            Err(error) => error.to_string(),
        };
        assert!(error.contains(part), "{part}: {error}");
    }
    let scale = DenseConfig {
        scale: f64::NAN,
        ..DenseConfig::default()
    };
    let adapters = Adapters::new(&scale.into(), &base, 0, &Device::flex());
    let error = adapters.unwrap_err().to_string();
    assert!(error.contains("`scale` is NaN"), "{error}");
    let decoder = serde_json::from_value(json!({ "kind": "decoder", "statistics": "batch" }));
    let adapters = Adapters::new(&decoder.unwrap(), &base, 0, &Device::flex());
    let error = adapters.unwrap_err().to_string();
    assert!(error.contains("`statistics` is for"), "{error}");
}
