//! Weight changes added to the matrices that they change, for inference.

use std::collections::HashMap;

use burn::module::Module;

use super::{Adaptation, Adapters, BaseShape, LowRank, Tower};
use crate::weights;

/// A network with a method's changes of weight matrices added to the matrices, and the method without them. Together they
/// compute the same as before, to the bit, without adding the changes in every pass. Parameter names are those that `base`
/// gives.
pub(crate) fn merged<M: Module>(network: M, base: &BaseShape, adapters: Adapters) -> (M, Adapters) {
    let hooks: &dyn Adaptation = adapters.hooks();
    let mut changes: HashMap<String, &LowRank> = HashMap::new();
    let vision = base
        .vision
        .as_ref()
        .ok()
        .map(|shape| (Tower::Vision, shape));
    for (tower, shape) in vision.into_iter().chain([(Tower::Text, &base.text)]) {
        for layer in 0..shape.layers {
            let lora = hooks.layer(tower, layer).lora;
            for (path, change) in lora.into_iter().flat_map(|lora| lora.changes()) {
                let name = format!("{}encoder.layers.{layer}.{path}.weight", shape.prefix);
                changes.insert(name, change);
            }
        }
    }
    if changes.is_empty() {
        return (network, adapters);
    }
    let network = weights::update(network, |name, value| match changes.get(name) {
        Some(change) => {
            let matrix = value.reshape(change.shape());
            change.change(matrix).reshape([-1])
        }
        None => value,
    });
    (network, adapters.without_changes())
}
