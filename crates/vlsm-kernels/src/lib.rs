//! Operations of vision-language models with hand-written backward passes.
//!
//! Each operation is one autodiff node where a composition of Burn's operations would be many. It saves little other than its
//! inputs, and one pass computes its gradient. The CPU backend has kernels of its own; accelerators have some, and otherwise run the
//! compositions in [`compose`].
//!
//! The modules, each built on those above it:
//!
//! - [`ops`]: parameters and configurations of the operations,
//! - [`kernels`]: the trait [`Kernels`](kernels::Kernels) with one method per operation,
//! - [`compose`]: every operation in terms of Burn's own,
//! - `cpu`: the kernels of the CPU backend, on slices,
//! - `tape`: the autodiff nodes,
//! - `cube`: the kernels of accelerators, and the settings of their runtime,
//! - `functions`: the operations on [`Tensor`](burn::tensor::Tensor)s.

pub mod compose;
mod cpu;
#[cfg(feature = "accelerator")]
mod cube;
mod frozen;
mod functions;
mod instruction_set;
mod int8;
pub mod kernels;
pub mod ops;
mod tape;

#[cfg(feature = "accelerator")]
pub use cube::{device_memory, keep_compiled_kernels};
pub use frozen::{FrozenWeights, HalfWeights};
pub use functions::{
    adamw, adapter_block, attention, attention_sublayer, gelu, layer_norm, mlp_sublayer, quick_gelu,
};
pub use instruction_set::InstructionSet;
pub use int8::Int8Weights;
pub use ops::{
    Activation, AdamW, Adapter, AdapterConfig, AttentionConfig, AttentionWeights, Connection,
    LinearWeights, MlpConfig, MlpWeights, Normalisation,
};
