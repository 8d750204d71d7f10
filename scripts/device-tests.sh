#!/usr/bin/env bash
# The published numbers on another device of this machine than the CPU: logits, gradients and ten steps of every kind of adapter
# (crates/vlsm-train/tests/parity.rs), then logits by the program, a training that is stopped and resumed, and predictions, compared
# with the CPU's (bench/gpu/run.sh). Works in software too, with Mesa's llvmpipe (Debian's mesa-vulkan-drivers) and `vulkan`.
#
#   scripts/device-tests.sh NAME
#
# NAME is an accelerator's feature and device: vulkan, webgpu, metal, cuda, rocm. The second part needs a Python with NumPy and
# safetensors.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo build --package vlsm-cli --package vlsm-train --features "vlsm-cli/$1"
VLSM_TEST_DEVICE=$1 cargo test --package vlsm-cli --package vlsm-train --features "vlsm-cli/$1" --test parity -- --test-threads=1
DEVICE=$1 LIMIT=${LIMIT:-3600} bench/gpu/run.sh "$target/debug" fixtures/clipseg "$target/device-$1" fixtures training predict
