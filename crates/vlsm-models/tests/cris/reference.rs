//! The numbers of the published code, and what tests compare with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{FloatDType, Tensor, TensorData, activation};
use vlsm_models::cris::{self, Cris, TextFeatures, names};
use vlsm_models::methods::{Part, Unadapted};
use vlsm_models::tensor_file::{self, HostTensor, TensorFile};
use vlsm_models::weights;
use vlsm_models::{CrisConfig, Profile, TokenBatch};

use crate::common::tested;

pub(crate) type Tensors = BTreeMap<String, HostTensor>;

/// What `make_cris.py` wrote into a folder.
pub(crate) struct Reference {
    pub(crate) folder: PathBuf,
    pub(crate) cris: Cris,
    pub(crate) batch: TensorFile,
}

impl Reference {
    pub(crate) fn read(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let file = |name: &str| tensor_file::read(&folder.join(name)).unwrap();
        let config = CrisConfig::read(&folder.join("config.json")).unwrap();
        let tensors = file("model.safetensors").tensors;
        let cris = Cris::from_tensors(&config, tensors, &folder, &tested()).unwrap();
        let batch = file("batch.safetensors");
        Self {
            folder,
            cris,
            batch,
        }
    }

    pub(crate) fn small() -> Self {
        Self::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/cris"))
    }

    pub(crate) fn expected(&self, name: &str) -> Tensors {
        let path = self.folder.join(format!("{name}.expected.safetensors"));
        tensor_file::read(&path).unwrap().tensors
    }

    pub(crate) fn pixels(&self) -> Tensor<4> {
        let bytes = &self.batch.ints["pixels"];
        let value = |byte: &i64| (*byte as f32 / 255.0 - 0.5) / 0.25;
        let values: Vec<f32> = bytes.data.iter().map(value).collect();
        Tensor::from_data(TensorData::new(values, bytes.shape.clone()), &tested())
    }

    pub(crate) fn tokens(&self, ids: &str) -> TokenBatch {
        let ids = &self.batch.ints[ids];
        let values: Vec<u32> = ids.data.iter().map(|id| *id as u32).collect();
        let prompts: Vec<&[u32]> = values.chunks(ids.shape[1]).collect();
        self.cris.tokens(&prompts).unwrap()
    }

    pub(crate) fn text(&self, cris: &Cris, ids: &str, profile: Profile) -> TextFeatures {
        cris.encode_text(&self.tokens(ids), profile, &Unadapted).0
    }

    /// 1.5 Dice + cross entropy of the logits, as in the script.
    pub(crate) fn loss(&self, logits: Tensor<3>) -> Tensor<1> {
        let mask = &self.batch.ints["mask"];
        let values: Vec<f32> = mask.data.iter().map(|value| *value as f32).collect();
        let target = Tensor::<3>::from_data(TensorData::new(values, mask.shape.clone()), &tested());
        let target = target.cast(logits.dtype());
        let [batch, ..] = logits.dims();
        let per_sample = |x: Tensor<3>| x.flatten::<2>(1, 2).sum_dim(1).reshape([batch]);
        let p = activation::sigmoid(logits.clone());
        let both = per_sample(p.clone() * target.clone());
        let dice = (both * 2.0 + 1e-5) / (per_sample(p) + per_sample(target.clone()) + 1e-5);
        // log(1 + exp(x)) - x t, where exp cannot overflow.
        let entropy = logits.clone().clamp_min(0.0) - logits.clone() * target
            + (logits.abs().neg().exp() + 1.0).log();
        (dice.mean().neg() + 1.0) * 1.5 + entropy.mean()
    }
}

/// Everything but the running statistics tracked for gradients.
pub(crate) fn tracked(cris: Cris) -> Cris {
    weights::tracked(cris, |name| cris::part(name) != Part::Untrained)
}

/// The same computed in f64.
pub(crate) fn wide(cris: Cris) -> Cris {
    struct Wide;
    impl ModuleMapper for Wide {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            Param::initialized(param.id, param.val().cast(FloatDType::F64))
        }
    }
    cris.map(&mut Wide)
}

pub(crate) fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    let squares = values.into_iter().map(|value| f64::from(value).powi(2));
    squares.sum::<f64>().sqrt()
}

/// The largest difference, in standard deviations of the expected values.
pub(crate) fn off(values: Vec<f32>, expected: &HostTensor) -> f64 {
    assert_eq!(values.len(), expected.data.len());
    let count = values.len() as f64;
    let mean = expected.data.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let spread = expected.data.iter().map(|x| (f64::from(*x) - mean).powi(2));
    let spread = (spread.sum::<f64>() / count).sqrt();
    let pairs = values.iter().zip(&expected.data);
    let differences = pairs.map(|(x, y)| f64::from((x - y).abs()));
    differences.fold(0.0, f64::max) / spread
}

/// Compares all gradients; gives the worst difference as a part of its gradient's norm.
pub(crate) fn check_gradients(cris: &Cris, loss: Tensor<1>, expected: &Tensors, limit: f64) -> f64 {
    let mut gradients = loss.backward();
    let gradients = weights::take_gradients(cris, &mut gradients);
    let gradients = gradients.iter().map(|(n, g)| (n.clone(), g.to_file()));
    let gradients = names::to_file(gradients.collect());
    let wanted: Tensors = expected
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("grad.")?.to_owned(), tensor.clone())))
        .collect();
    assert!(!wanted.is_empty());
    let whole = norm(wanted.values().flat_map(|tensor| tensor.data.clone()));
    let mut worst = (0.0, String::new());
    for (name, expected) in &wanted {
        let found = &gradients[name];
        assert_eq!(found.shape, expected.shape, "{name}");
        let difference = norm(found.data.iter().zip(&expected.data).map(|(x, y)| x - y));
        let own = norm(expected.data.iter().copied());
        // Gradients that are 0 but for rounding: biases that a normalisation takes away again, biases of keys.
        if own < 1e-6 * whole {
            assert!(difference < 1e-5 * whole, "{name}: {difference:e} of 0");
            continue;
        }
        if difference / own > worst.0 {
            worst = (difference / own, name.clone());
        }
    }
    assert!(worst.0 < limit, "{}: {:e}", worst.1, worst.0);
    worst.0
}
