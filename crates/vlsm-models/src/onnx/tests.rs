#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value as Json, json};

use super::proto::{GraphProto, ModelProto, TensorProto};
use super::*;

fn base(name: &str) -> Base {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name);
    let name = match name {
        "builtin:tiny" => name,
        _ => folder.to_str().unwrap(),
    };
    Base::load(name, &Device::flex()).unwrap()
}

/// An adapter as it is at its start.
fn adapter(base: &Base, method: &Json) -> AdapterFile {
    let method: MethodConfig = serde_json::from_value(method.clone()).unwrap();
    let model = Model::new(base, method.clone(), 1).unwrap();
    AdapterFile {
        tensors: weights::export(&model, |name| model.saves(name)),
        method,
        base: Some(base.identity.clone()),
        ..AdapterFile::default()
    }
}

/// Every input of a node is made before it, every name is made once, and nothing is made in vain.
fn check_graph(graph: &GraphProto) {
    let mut made = BTreeSet::new();
    let inputs = graph.input.iter().map(|input| &input.name);
    let defaults: BTreeSet<_> = inputs.clone().collect();
    let constants = graph.initializer.iter().map(|tensor| &tensor.name);
    let constants = constants.filter(|name| !defaults.contains(name));
    for name in inputs.chain(constants) {
        assert!(made.insert(name.clone()), "{name} is made twice");
    }
    let mut used = BTreeSet::new();
    for node in &graph.node {
        for input in &node.input {
            assert!(made.contains(input), "{} needs {input}", node.name);
            used.insert(input.clone());
        }
        for output in &node.output {
            assert!(made.insert(output.clone()), "{output} is made twice");
        }
    }
    used.extend(graph.output.iter().map(|output| output.name.clone()));
    let unused: Vec<_> = made.difference(&used).collect();
    assert!(unused.is_empty(), "{unused:?}");
    for TensorProto {
        dims,
        data_type,
        name,
        raw_data,
    } in &graph.initializer
    {
        let size = if *data_type == proto::FLOAT { 4 } else { 8 };
        let count: i64 = dims.iter().product();
        assert_eq!(raw_data.len() as i64, count * size, "{name}");
    }
}

/// Both graphs of a model, read back from their bytes.
fn graphs(base: &Base, method: Option<&Json>) -> (OnnxExport, [ModelProto; 2]) {
    let adapter = method.map(|method| adapter(base, method));
    let mut export = OnnxExport::new(base, adapter, None, &[]).unwrap();
    let models = [export.segmenter().unwrap(), export.text().unwrap()];
    let models = models.map(|model| {
        let bytes = model.0.encode_to_vec();
        assert_eq!(bytes.len(), model.bytes());
        ModelProto::decode(bytes.as_slice()).unwrap()
    });
    for model in &models {
        check_graph(model.graph.as_ref().unwrap());
    }
    (export, models)
}

/// What is left of a model after both graphs is what no logit depends on. A block or a layer that the graph forgets is left.
#[test]
fn every_parameter_that_the_logits_depend_on_is_in_a_graph() {
    let unused = [
        "logit_scale",
        "bg_embed",
        "visual_projection.",
        "post_layernorm.",
        "_lora.",
    ];
    let all = ["query", "key", "value", "output", "fc1", "fc2"];
    let everywhere = [
        json!({ "kind": "dense", "bottleneck": 3, "cond_bottleneck": 4 }),
        json!({ "kind": "dense", "bottleneck": 3, "towers": "v", "connection": "parallel", "sublayers": "mlp" }),
        json!({ "kind": "lora", "bottleneck": 2, "projections": all }),
        json!({ "kind": "shallow", "bottleneck": 3, "towers": "v" }),
        json!({ "kind": "decoder" }),
        json!({ "kind": "bitfit" }),
    ];
    for name in [
        "builtin:tiny",
        "clipseg/tiny_refined",
        "biomedclipseg/tiny",
        "san",
    ] {
        let base = base(name);
        for method in std::iter::once(None).chain(everywhere.iter().map(Some)) {
            // The fixture's text tower has fewer layers than its vision tower.
            let mut method = method.cloned();
            if let (Some(method), "san") = (&mut method, name)
                && ["dense", "lora"].contains(&method["kind"].as_str().unwrap())
                && method["towers"].is_null()
            {
                method["text_layers"] = json!([0, 1]);
            }
            let (export, _) = graphs(&base, method.as_ref());
            for parameter in export.parameters.keys() {
                let depends = !unused.iter().any(|part| parameter.contains(part));
                assert!(!depends, "{name} {method:?}: {parameter}");
            }
        }
    }
}

/// Dimensions that the caller chooses, the metadata, and the prompts that are part of the graph.
#[test]
fn a_graph_says_what_it_takes() {
    let base = base("builtin:tiny");
    let prompts = ["a red circle".to_owned(), "a square".to_owned()];
    let mut export = OnnxExport::new(&base, None, Some(84), &prompts).unwrap();
    let ModelProto {
        graph,
        metadata_props,
        ..
    } = export.segmenter().unwrap().0;
    let graph = graph.unwrap();
    let names: Vec<_> = graph
        .input
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    assert_eq!(names, ["image", "embedding"]);
    let default = graph
        .initializer
        .iter()
        .find(|tensor| tensor.name == "embedding");
    assert_eq!(default.unwrap().dims, [2, 64]);
    let metadata = |key: &str| {
        let mut found = metadata_props.iter();
        &found.find(|entry| entry.key == key).unwrap().value
    };
    assert_eq!(metadata("vlsm.base"), "builtin:tiny");
    assert_eq!(metadata("vlsm.prompts"), r#"["a red circle","a square"]"#);
    let preprocessing: Json = serde_json::from_str(metadata("vlsm.preprocessing")).unwrap();
    assert_eq!(preprocessing["size"]["height"], 84);
    // The weights are in the first graph; a second would be empty.
    assert!(export.segmenter().is_err());
}

#[test]
fn what_has_no_graph_is_refused_with_the_reason() {
    let cris = base("cris");
    let error = OnnxExport::new(&cris, None, None, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("CRIS") && error.contains("SAN"), "{error}");
    let tiny = base("builtin:tiny");
    let error = OnnxExport::new(&tiny, None, Some(85), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("84"), "{error}");
    let error = check_size(3 << 30).unwrap_err().to_string();
    assert!(error.contains("3.2 GB"), "{error}");
}
