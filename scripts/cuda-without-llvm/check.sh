#!/usr/bin/env bash
# Compiles every kernel of training steps with NVRTC, on a pretend driver. `cargo xtask kernels` runs this.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bash "$here/build.sh"
target=${CARGO_TARGET_DIR:-$here/../../target/nvrtc}
tools=$target/pretend
mkdir -p "$tools/lib" "$tools/ptx"
gcc -O1 -shared -fPIC -w -o "$tools/lib/libcuda.so" "$here/pretend_driver.c"
if [ ! -d "$tools/nvrtc/nvidia" ]; then
  python3 -m pip install --quiet --no-deps --target "$tools/nvrtc" \
    nvidia-cuda-nvrtc==13.0.* nvidia-cuda-crt==13.0.* nvidia-cuda-cccl==13.0.* nvidia-cuda-runtime==13.0.*
fi
export CUDA_PATH=$tools/nvrtc/nvidia/cu13
export LD_LIBRARY_PATH=$tools/lib:$CUDA_PATH/lib
texts=$here/../../bench/prompts.txt
cd "$tools"
printf '[compilation]\ncache = true\n[environment]\npath = { directory = "%s/kernels" }\n' "$tools" > cubecl.toml
[ -d clipseg ] || "$target/debug/vlsm" model init --config clipseg-rd64-refined --seed 1 -o clipseg > model.txt
step() { "$target/debug/vlsm-bench" --texts "$texts" --device cuda --case train --steps 1 "$@"; }
for base in builtin:tiny clipseg; do
  for method in dense shallow lora; do
    step --base $base --method $method --batch 2
  done
done
step --base clipseg --method dense --batch 2 --precision bf16
