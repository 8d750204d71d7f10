#!/usr/bin/env bash
# Checks and timings on an NVIDIA GPU: logits compared with the published code's, then a dense training step compared with
# PyTorch's on the same card.
#
#   bench/gpu/run.sh BIN FIXTURES OUT
#
# BIN: folder with `vlsm` and `vlsm-bench`, built with the feature `cuda`. FIXTURES: folder with models such as
# fixtures/clipseg/tiny_refined. Needs a Python with PyTorch, NumPy and safetensors.
set -uo pipefail
bin=$1 fixtures=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | tee "$out/gpu.txt"

for folder in "$fixtures"/*/; do
  for init in "$folder"*.init.safetensors; do
    [ -f "$init" ] || continue
    name=$(basename "$folder")-$(basename "$init" .init.safetensors)
    "$bin/vlsm" model forward --base "$folder" --adapter "$init" --batch "$folder/batch.safetensors" --device cuda \
      --out "$out/$name.safetensors" >>"$out/forward.log" 2>&1 || { echo "$name: failed, see forward.log"; continue; }
    python3 "$here/compare.py" "$out/$name.safetensors" "${init/.init./.expected.}"
    rm "$out/$name.safetensors"
  done
done 2>&1 | tee "$out/fixtures.txt"

# The base is large; it is not part of the results.
base=$(mktemp -d)
"$bin/vlsm" model init --config clipseg-rd64-refined --seed 1 -o "$base/clipseg" >/dev/null
for device in cuda cpu; do
  "$bin/vlsm-bench" --base "$base/clipseg" --case train --method dense --batch 4 --steps 3 --device $device
done 2>&1 | tee "$out/vlsm.txt"
rm -r "$base"
python3 "$here/peer.py" --batch 4 32 2>&1 | tee "$out/peer.txt"
