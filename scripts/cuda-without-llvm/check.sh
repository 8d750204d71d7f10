#!/usr/bin/env bash
# Compiles every kernel of training steps with NVRTC 13 and 12, on a pretend driver. `cargo xtask kernels` runs this.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bash "$here/build.sh"
target=$(realpath "${CARGO_TARGET_DIR:-$here/../../target/nvrtc}")
tools=$target/pretend
mkdir -p "$tools/lib"
gcc -O1 -shared -fPIC -w -o "$tools/lib/libcuda.so" "$here/pretend_driver.c"
texts=$here/../../bench/prompts.txt
vlsm=$target/debug/vlsm

# What each version's packages are called, and where their headers and libraries are.
install() { # VERSION
  case $1 in
    13) parts=(nvidia-cuda-nvrtc nvidia-cuda-crt nvidia-cuda-cccl nvidia-cuda-runtime) release='13.0.*' ;;
    12) parts=(nvidia-cuda-nvrtc-cu12 nvidia-cuda-nvcc-cu12 nvidia-cuda-cccl-cu12 nvidia-cuda-runtime-cu12) release='12.4.*' ;;
  esac
  [ -d "$tools/nvrtc$1/nvidia" ] ||
    python3 -m pip install --quiet --no-deps --target "$tools/nvrtc$1" "${parts[@]/%/==$release}"
  # In version 12 some of the runtime's headers come with the compiler.
  if [ "$1" = 12 ]; then
    ln -sfn ../../cuda_nvcc/include/crt "$tools/nvrtc12/nvidia/cuda_runtime/include/crt"
  fi
}

step() { # BASE METHOD ARGUMENTS...
  echo "== $1 $2 ${*:3}"
  "$target/debug/vlsm-bench" --texts "$texts" --device cuda --case train --steps 1 --batch 2 --base "$1" --method "$2" "${@:3}"
}

# Two steps of the program on a base of another architecture than CLIPSeg. A loss that is not finite ends it after the first.
train() { # BASE METHOD ARGUMENTS...
  echo "== $1 $2 ${*:3}"
  printf '[model]\nbase = "%s"\n[method]\nkind = "%s"\n[data]\nroot = "builtin:scenes"\n' "$1" "$2" > step.toml
  "$vlsm" train step.toml --out run --force --set trainer.device=cuda --set trainer.batch_size=2 --set trainer.epochs=1 \
    --set trainer.max_steps=2 --set trainer.validate=false --set trainer.test=false --set cache.features=off \
    --set data.generate.train=4 --set data.generate.val=1 --set data.generate.test=1 "${@:3}"
}

for version in ${NVRTC:-13 12}; do
  echo "= NVRTC $version"
  install "$version"
  nvidia=$tools/nvrtc$version/nvidia
  case $version in
    13) export CUDA_PATH=$nvidia/cu13 libraries=$nvidia/cu13/lib ;;
    12) export CUDA_PATH=$nvidia/cuda_runtime libraries=$nvidia/cuda_nvrtc/lib ;;
  esac
  export LD_LIBRARY_PATH=$tools/lib:$libraries
  mkdir -p "$tools/work$version"
  cd "$tools/work$version"
  printf '[compilation]\ncache = true\n[environment]\npath = { directory = "%s/kernels" }\n' "$PWD" > cubecl.toml
  for base in clipseg-rd64-refined biomedclipseg san cris; do
    [ -d "$base" ] || "$vlsm" model init --config "$base" --seed 1 -o "$base" > /dev/null
  done
  for base in builtin:tiny clipseg-rd64-refined; do
    for method in dense shallow lora; do
      step "$base" "$method"
    done
  done
  step clipseg-rd64-refined dense --precision bf16
  train builtin:tiny dense --set model.precision=f16
  train biomedclipseg dense
  train san dense
  train san decoder
  train cris lora --set method.towers=l
  train cris decoder
done
