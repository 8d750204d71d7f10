#!/usr/bin/env bash
# The published numbers on another device of this machine than the CPU: operations compared with the CPU's in f64
# (crates/vlsm-models/tests/device.rs); logits, gradients and ten steps of every kind of adapter on CLIPSeg
# (crates/vlsm-train/tests/parity.rs); logits and gradients of the other methods, of BiomedCLIPSeg, SAN, CRIS and CLIP; a training in
# half precision; then logits by the program, a training that is stopped and resumed, and predictions, compared with the CPU's
# (bench/gpu/run.sh).
#
#   scripts/device-tests.sh NAME
#
# NAME is an accelerator's feature and device: webgpu, vulkan, metal, cuda, rocm. The last part needs a Python with NumPy and
# safetensors. Without a GPU, `webgpu` runs in software on Mesa's llvmpipe (Debian's mesa-vulkan-drivers); `vulkan` does not, since
# its shaders, which are SPIR-V, crash Mesa's compiler (22.3.6 and 25.0.7).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
# What runs on the device is not compiled here; at the workspace's level 3 the dependencies take twice as long.
options=(--config 'profile.dev.package."*".opt-level=1' --package vlsm-cli --package vlsm-train --package vlsm-models --features "vlsm-cli/$1")
tests=(device half_precision parity methods biomedclipseg san cris segments)
VLSM_TEST_DEVICE=$1 cargo test "${options[@]}" --no-fail-fast "${tests[@]/#/--test=}" -- --test-threads=1
cargo build "${options[@]}"
DEVICE=$1 LIMIT=${LIMIT:-3600} MOST=${MOST:-1e-4} bench/gpu/run.sh "$target/debug" fixtures/clipseg "$target/device-$1" fixtures training predict
