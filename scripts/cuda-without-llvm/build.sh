#!/usr/bin/env bash
# Builds `vlsm` and `vlsm-bench` with CUDA and without LLVM, into $CARGO_TARGET_DIR or target/nvrtc. Arguments go to cargo.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/nvrtc}
export CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-13000}
# Cargo would keep the substitute in the lock file.
lock=$(mktemp)
cp Cargo.lock "$lock"
trap 'mv "$lock" Cargo.lock' EXIT
cargo --config "patch.crates-io.cubecl-llvm.path='$here/cubecl-llvm'" --config "$here/profile.toml" \
  "${@:-build}" --package vlsm-cli --package vlsm-bench --features vlsm-cli/nvrtc,vlsm-bench/nvrtc
