//! The states of a vision tower in two stages: those below what a method changes, which can be cached, and the others.

use burn::tensor::Tensor;

use super::VisionTower;
use crate::error::{ModelError, Result};
use crate::methods::Adaptation;

/// Which states a model computes in each stage. A state is named by the number of layers before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stages {
    /// The states that the model needs, in its order.
    wanted: Vec<usize>,
    /// The states of the first stage: wanted ones and, if there is a second stage, the one that it starts from.
    first: Vec<usize>,
    /// The number of layers before the second stage, if there is one.
    resumed_at: Option<usize>,
    /// Whether training does not change the states of the first stage.
    pub(crate) frozen: bool,
}

impl Stages {
    /// The stages of a model that needs the states `wanted` under a method.
    pub(crate) fn new(wanted: &[usize], method: &dyn Adaptation) -> Self {
        let touched = method.touches().vision;
        let done = method.first_vision_layer();
        let mut first = wanted.to_vec();
        let resumed_at = (touched && done > 0).then_some(done);
        if resumed_at.is_some() {
            first.retain(|state| *state < done);
            first.push(done);
        }
        Self {
            wanted: wanted.to_vec(),
            first,
            resumed_at,
            frozen: !touched || done > 0,
        }
    }

    /// The states of the first stage.
    pub(crate) fn first(&self) -> &[usize] {
        &self.first
    }

    /// The wanted states, in their order, given those of the first stage.
    ///
    /// # Errors
    /// If their number is wrong; `what` names them.
    pub(crate) fn complete(
        &self,
        tower: &VisionTower,
        states: Vec<Tensor<3>>,
        method: &dyn Adaptation,
        what: &str,
    ) -> Result<Vec<Tensor<3>>> {
        if states.len() != self.first.len() {
            return Err(ModelError::States {
                what: what.into(),
                expected: self.first.len(),
                found: states.len(),
            });
        }
        let Some((done, last)) = self.resumed_at.zip(states.last()) else {
            return Ok(states);
        };
        let later: Vec<usize> = (self.wanted.iter().copied())
            .filter(|state| *state > done)
            .collect();
        let more = tower.resume(last.clone(), done, &later, method);
        let numbers = self.first.iter().chain(&later);
        let all: Vec<_> = numbers.zip(states.iter().chain(&more)).collect();
        let find = |wanted: &usize| all.iter().find(|(number, _)| *number == wanted);
        let found = self.wanted.iter().filter_map(find);
        Ok(found.map(|(_, state)| (*state).clone()).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::clip::config::VisionConfig;
    use crate::methods::{
        Adapters, DenseConfig, LayerAdapters, LoraConfig, MethodConfig, Profile, ShallowConfig,
        Touches, Tower,
    };
    use crate::weights::to_host;
    use crate::{AdapterInit, ClipSegConfig};

    /// A method without what it says of its first layer.
    #[derive(Debug)]
    struct Undivided<'a>(&'a dyn Adaptation);

    impl Adaptation for Undivided<'_> {
        fn touches(&self) -> Touches {
            self.0.touches()
        }

        fn layer(&self, tower: Tower, layer: usize) -> LayerAdapters<'_> {
            self.0.layer(tower, layer)
        }
    }

    fn dense(layers: &[usize]) -> MethodConfig {
        let config = DenseConfig {
            layers: Some(layers.to_vec()),
            init: Some(AdapterInit::Random),
            ..DenseConfig::default()
        };
        config.into()
    }

    fn lora(layers: &[usize]) -> MethodConfig {
        let config = LoraConfig {
            layers: Some(layers.to_vec()),
            init: Some(AdapterInit::Random),
            ..LoraConfig::default()
        };
        config.into()
    }

    #[test]
    fn both_stages_give_the_states_of_the_whole_tower() {
        let device = Device::flex();
        let config = ClipSegConfig {
            extract_layers: vec![3, 0, 2],
            vision_config: VisionConfig {
                hidden_size: 12,
                intermediate_size: 20,
                num_hidden_layers: 4,
                num_attention_heads: 2,
                image_size: 24,
                patch_size: 8,
                ..VisionConfig::default()
            },
            ..ClipSegConfig::tiny()
        };
        let tower = config.vision_config.init(&device);
        let pixels = (0..3 * 24 * 24).map(|at| (at as f32 * 0.37).sin());
        let pixels = TensorData::new(pixels.collect::<Vec<f32>>(), [1, 3, 24, 24]);
        let pixels = Tensor::<4>::from_data(pixels, &device);
        let wanted = [4, 1, 3];
        let cases = [
            (dense(&[0, 1]), vec![4, 1, 3], false),
            (dense(&[1, 3]), vec![1], true),
            (dense(&[2]), vec![1, 2], true),
            (lora(&[3]), vec![1, 3], true),
            (ShallowConfig::default().into(), vec![4, 1, 3], true),
        ];
        for (method, first, frozen) in cases {
            let shape = config.shape(Profile::Default);
            let adapters = Adapters::new(&method, &shape, 3, &device).unwrap();
            let hooks = adapters.hooks();
            let stages = Stages::new(&wanted, hooks);
            assert_eq!(stages.first(), first, "{method:?}");
            assert_eq!(stages.frozen, frozen, "{method:?}");
            let states = tower.forward(pixels.clone(), stages.first(), hooks);
            let states = stages.complete(&tower, states, hooks, "").unwrap();
            let undivided = Undivided(hooks);
            let whole = tower.forward(pixels.clone(), &wanted, &undivided);
            assert_eq!(states.len(), whole.len());
            for (state, whole) in states.into_iter().zip(whole) {
                assert_eq!(to_host(state), to_host(whole), "{method:?}");
            }
            assert!(stages.complete(&tower, Vec::new(), hooks, "").is_err());
        }
    }
}
