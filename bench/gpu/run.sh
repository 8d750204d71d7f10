#!/usr/bin/env bash
# Checks and timings on an NVIDIA GPU: logits compared with the published code's, training steps and products compared with
# PyTorch's on the same card. Writes RESULTS-<card>.md and the raw numbers to OUT.
#
#   bench/gpu/run.sh BIN FIXTURES OUT [quick|full|SECTION...]
#
# $DEVICE is the device (cuda); the sections fixtures, training and predict take any, as vulkan, also in software.
# BIN: folder with `vlsm` and `vlsm-bench`, built with the feature `cuda` or `nvrtc`. FIXTURES: folder with models such as
# fixtures/clipseg/tiny_refined. quick takes two minutes, full six. Needs a Python with PyTorch, NumPy and safetensors; without
# PyTorch its part is left out. Kernels and autotune's choices are kept in $KERNELS, so that a second run starts with them. What
# is not done after $LIMIT seconds (360) is left out. With $MOST, a larger difference makes it fail (products on NVIDIA cards are in
# TF32, so differences there are larger than f32's).
set -uo pipefail
bin=$(realpath "$1") fixtures=$(realpath "$2") out=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
device_name=${DEVICE:-cuda}
mkdir -p "$out" && out=$(realpath "$out")
case ${1:-full} in
  quick) sections="device fixtures dense" ;;
  full) sections="device unfused dense bf16 pytorch phases fixtures predict training infer profile compile" ;;
  *) sections="$*" ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# The runtime's settings.
cat > cubecl.toml <<EOF
[compilation]
cache = true
[environment]
path = { directory = "${KERNELS:-$work/kernels}" }
EOF

# NVRTC and its headers, those of the pip packages if no toolkit is installed.
if [ -z "${CUDA_PATH:-}" ] && [ ! -e /usr/local/cuda/include/cuda_fp16.h ]; then
  for folder in $(python3 -c 'import nvidia; print(*nvidia.__path__)' 2> /dev/null); do
    [ -e "$folder/cu13/include/cuda_fp16.h" ] && export CUDA_PATH=$folder/cu13
    [ -e "$folder/cuda_runtime/include/cuda_fp16.h" ] && export CUDA_PATH=$folder/cuda_runtime
  done
fi
for folder in /usr/local/cuda/lib64 ${CUDA_PATH:-/usr/local/cuda}/lib ${CUDA_PATH:-/usr/local/cuda}/lib64 \
  $(python3 -c 'import nvidia; print(*[p + s for p in nvidia.__path__ for s in ("/cu13/lib", "/cuda_nvrtc/lib")])' 2> /dev/null); do
  ls "$folder"/libnvrtc.so* > /dev/null 2>&1 && export LD_LIBRARY_PATH=$folder:${LD_LIBRARY_PATH:-}
done

began=$(date +%s)
within() { # SECONDS COMMAND...: at most that long, and not beyond the limit
  local left=$((${LIMIT:-360} - $(date +%s) + began))
  [ "$left" -lt 3 ] && return 124
  timeout "$(($1 < left ? $1 : left))" "${@:2}"
}

bench() { # SECONDS ARGUMENTS...
  # The base is large; it is not part of the results.
  [ -d "$work/clipseg" ] || "$bin/vlsm" model init --config clipseg-rd64-refined --seed 1 -o "$work/clipseg" > /dev/null 2>> "$out/errors.txt"
  within "$1" "$bin/vlsm-bench" --texts "$here/../prompts.txt" --base "$work/clipseg" --device "$device_name" "${@:2}" \
    2> >(grep -v '^ *$' | tail -n 20 >> "$out/errors.txt") || echo "{\"failed\": \"${*:2}\", \"status\": $?}"
}

device() {
  { nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null || echo "unknown card"
    "$bin/vlsm" --version; "$bin/vlsm" devices; echo "CUDA_PATH ${CUDA_PATH:-not set}"; nproc; } 2>&1 | tee "$out/device.txt"
}

fixtures() {
  for folder in "$fixtures"/*/; do
    for init in "$folder"{dense_vlc,shallow_vlc}.init.safetensors; do
      [ -f "$init" ] || continue
      name=$(basename "$folder")-$(basename "$init" .init.safetensors)
      within 60 "$bin/vlsm" model forward --base "$folder" --adapter "$init" --batch "$folder/batch.safetensors" \
        --device "$device_name" --out "$name.safetensors" >> "$out/errors.txt" 2>&1 || { echo "$name: failed, see errors.txt"; continue; }
      python3 "$here/compare.py" "$name.safetensors" "${init/.init./.expected.}"
    done
  done 2>&1 | tee "$out/fixtures.txt"
}

training() {
  # The same small training on the CPU and on the card; the second half of the card's is resumed.
  printf '[model]\nbase = "builtin:tiny"\n[method]\nkind = "dense"\n[data]\nroot = "builtin:scenes"\n' > tiny.toml
  small=(--set trainer.batch_size=8 --set trainer.patience=0 --set trainer.validate=false --set trainer.test=false)
  small+=(--set trainer.epochs=1 --set optim.schedule=constant --set data.generate.train=160)
  for run in "cpu 20" "$device_name 10" "$device_name 20 --resume"; do
    set -- $run
    within 120 "$bin/vlsm" train tiny.toml "${small[@]}" --set trainer.device="$1" --set trainer.max_steps="$2" --out "train-$1" ${3:-} \
      >> "$out/errors.txt" 2>&1 || echo "training on $1 failed, see errors.txt"
  done
  python3 "$here/compare.py" --losses "train-$device_name/metrics.jsonl" train-cpu/metrics.jsonl 2>&1 | tee "$out/training.txt"
}

predict() {
  "$bin/vlsm" data generate scenes --train 0 --val 0 --test 4 -o scenes > /dev/null
  for device in cpu "$device_name"; do
    within 60 "$bin/vlsm" predict --base builtin:tiny scenes/images/*.png --prompt "a red circle" --device $device -o "$device" \
      >> "$out/errors.txt" 2>&1 || echo "predict on $device failed, see errors.txt"
  done
  python3 "$here/compare.py" --predictions "$device_name/predictions.csv" cpu/predictions.csv 2>&1 | tee "$out/predict.txt"
}

dense() { bench 200 --case train --method dense --batch 4 8 32 --steps 5 | tee "$out/dense.txt"; }
# Fusion explores nothing, so that operations run one by one.
unfused() { BURN_FUSION_MAX_EXPLORATIONS=0 bench 120 --case train --method dense --batch 4 8 32 --steps 5 | tee "$out/unfused.txt"; }
bf16() { bench 120 --case train --method dense --batch 4 8 32 --steps 5 --precision bf16 | tee "$out/bf16.txt"; }
phases() {
  { bench 60 --case train --method dense --batch 4 32 --steps 3 --phases
    bench 60 --case train --method dense --batch 32 --steps 3 --phases --precision bf16
    bench 60 --case products --batch 32; } | tee "$out/phases.txt"
}
infer() { bench 60 --case infer --steps 20 --prompts 1 | tee "$out/infer.txt"; }
shallow() { bench 60 --case train --method shallow --batch 8 32 --steps 5 | tee "$out/shallow.txt"; }

profile() {
  # Seconds of each kernel in three steps at batch 8, by the runtime's own log; steps are slower with it.
  printf '[profiling.logger]\nlevel = "full"\nfile = "%s/profile.log"\n' "$work" >> cubecl.toml
  bench 60 --case train --method dense --batch 8 --steps 2 > "$out/profile-step.txt"
  python3 "$here/kernels.py" profile.log 2>&1 | tee "$out/profile.txt" | head -n 40
  sed -i '/^\[profiling/,$d' cubecl.toml
}

pytorch() { within 120 python3 "$here/peer.py" --batch 4 8 32 --steps 10 2>> "$out/errors.txt" | tee "$out/pytorch.txt"; }
compile() { within 150 python3 "$here/peer.py" --batch 32 --steps 10 --compile 2>> "$out/errors.txt" | tee "$out/compile.txt"; }

for section in $sections; do
  [ "$(($(date +%s) - began))" -gt "$((${LIMIT:-360} - 10))" ] && echo "== $section left out" && continue
  echo "== $section"
  SECONDS=0
  "$section"
  echo "== $section took $SECONDS s"
done
python3 "$here/page.py" "$out"
! grep -E ": above |failed" "$out"/{fixtures,training,predict}.txt 2> /dev/null
