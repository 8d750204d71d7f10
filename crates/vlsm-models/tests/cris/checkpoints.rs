//! Weights from checkpoints and from a plain CLIP.

use std::collections::BTreeMap;

use burn::tensor::Device;
use vlsm_models::cris::{names, random_weights, read_weights};
use vlsm_models::tensor_file::{self, HostTensor};
use vlsm_models::{Base, CrisConfig, DecoderConfig, Model, Network, weights};

use crate::reference::Tensors;

/// Checkpoints of one process and of several, and a CLIP, which is completed from a seed. Heads as CLIP has them, so that
/// weights tell the whole configuration.
#[test]
fn weights_come_from_checkpoints_and_from_clip() {
    let mut config = CrisConfig::tiny();
    config.text_config.num_attention_heads = 1;
    let usual = CrisConfig::default();
    config.fpn_out = [256, 64, 1024];
    config.decoder_layers = usual.decoder_layers;
    config.decoder_heads = usual.decoder_heads;
    config.decoder_hidden = usual.decoder_hidden;
    config.image_size = usual.image_size;
    let weights = random_weights(&config, 3);
    let checkpoint = names::to_file(weights.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let write = |tensors: &Tensors| {
        tensor_file::write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    };
    let renamed = |rename: &dyn Fn(&str) -> Option<String>| -> Tensors {
        let entry = |(name, tensor): (&String, &HostTensor)| Some((rename(name)?, tensor.clone()));
        checkpoint.iter().filter_map(entry).collect()
    };
    for wrapper in ["", "module."] {
        write(&renamed(&|name| Some(format!("{wrapper}{name}"))));
        assert_eq!(
            read_weights(&path, 1).unwrap(),
            (config.clone(), weights.clone())
        );
    }

    let clip = |name: &str| {
        let name = name.strip_prefix("backbone.")?;
        (!name.contains(".connect.")).then(|| name.to_owned())
    };
    write(&renamed(&clip));
    let (found, completed) = read_weights(&path, 1).unwrap();
    assert_eq!(found, config);
    assert_eq!(completed, read_weights(&path, 1).unwrap().1);
    let missing = |name: &str| !name.starts_with("backbone.") || name.contains(".connect.");
    assert_eq!(completed.len(), weights.len());
    for (name, tensor) in &weights {
        assert_eq!(completed[name].shape, tensor.shape, "{name}");
        assert!(missing(name) || &completed[name] == tensor, "{name}");
    }
    assert_ne!(
        completed["neck.aggr.0.weight"],
        weights["neck.aggr.0.weight"]
    );

    let mut vit = renamed(&clip);
    vit.insert("visual.class_embedding".into(), vit["logit_scale"].clone());
    write(&vit);
    let error = read_weights(&path, 1).unwrap_err().to_string();
    assert!(
        error.contains("RN50.pt") && error.contains("model.safetensors"),
        "{error}"
    );
    write(&renamed(&|name| {
        (!name.contains("text_projection")).then(|| name.to_owned())
    }));
    let error = read_weights(&path, 1).unwrap_err().to_string();
    assert!(
        error.contains("missing `backbone.text_projection`"),
        "{error}"
    );
}

/// A plain CLIP with a ResNet, in a file alone: what it lacks is random and depends on the seed.
#[test]
fn a_plain_clip_is_a_base() {
    let config = CrisConfig::tiny();
    let mut tensors = names::to_file(random_weights(&config, 3));
    tensors.retain(|name, _| name.starts_with("backbone.") && !name.contains(".connect."));
    let clip = tensors.into_iter().map(|(name, tensor)| {
        let name = name.strip_prefix("backbone.").unwrap().to_owned();
        (name, tensor)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("RN.safetensors");
    tensor_file::write_safetensors(&path, &clip.collect(), &BTreeMap::new()).unwrap();
    let base = Base::load(path.to_str().unwrap(), &Device::flex()).unwrap();
    assert_eq!(base.preprocessing.image_size, 416);
    let Network::Cris(cris) = &base.network else {
        panic!("not a CRIS");
    };
    assert!(cris.is_fresh());
    let start = |seed| {
        let model = Model::new(&base, DecoderConfig::default().into(), seed).unwrap();
        weights::export(&model, |name| name.starts_with("cris."))
    };
    let (one, other) = (start(1), start(2));
    assert_eq!(one, start(1));
    let changed = one.iter().filter(|(name, tensor)| other[*name] != **tensor);
    let changed: Vec<&String> = changed.map(|(name, _)| name).collect();
    assert!(changed.iter().any(|name| name.starts_with("cris.neck.")));
    let clip = changed
        .iter()
        .filter(|name| name.starts_with("cris.backbone."));
    assert!(
        clip.clone().all(|name| name.contains(".connect.")),
        "{changed:?}"
    );
}
