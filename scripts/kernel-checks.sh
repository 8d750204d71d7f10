#!/usr/bin/env bash
# The tests of vlsm-kernels where faults of `unsafe` code show: portable code under Miri, AVX2 under valgrind, the widest instruction
# set of this processor with AddressSanitizer, and NEON on an emulated Arm processor. A check is left out, and named, if its tools are
# not installed: Miri and AddressSanitizer need the nightly toolchain (Miri its component), Arm the target aarch64-unknown-linux-gnu,
# Debian's gcc-aarch64-linux-gnu and qemu-user. Each compiles Burn once more, in folders of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
package=(--package vlsm-kernels)
done=()

if command -v valgrind > /dev/null; then
  echo "== valgrind"
  build=$(CARGO_TARGET_DIR=$target/valgrind cargo test "${package[@]}" --lib --no-run --message-format=json | grep -o '"executable":"[^"]*' | cut -d'"' -f4)
  valgrind --quiet --error-exitcode=9 "$build" --test-threads=1
  done+=(valgrind)
fi

if cargo +nightly --version > /dev/null 2>&1; then
  echo "== AddressSanitizer"
  host=$(rustc -vV | sed -n 's/host: //p')
  CARGO_TARGET_DIR=$target/asan RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
    cargo +nightly test --target "$host" "${package[@]}" --lib --test gradients --test frozen --test recompute --test adamw
  done+=(AddressSanitizer)
fi

if cargo +nightly miri --version > /dev/null 2>&1; then
  echo "== Miri"
  # The other tests take hours there. crossbeam, which rayon uses, needs the rules for pointers that are named here.
  CARGO_TARGET_DIR=$target/miri MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows -Zmiri-permissive-provenance" RAYON_NUM_THREADS=2 \
    cargo +nightly miri test "${package[@]}" --lib -- rows_come_back transposed_blocks not_finite
  done+=(Miri)
fi

if command -v qemu-aarch64 aarch64-linux-gnu-gcc > /dev/null; then
  echo "== Arm"
  CARGO_TARGET_DIR=$target/arm CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    cargo test --target aarch64-unknown-linux-gnu "${package[@]}" --lib --test gradients --test frozen --test recompute --test adamw
  done+=(Arm)
fi

echo "checked: ${done[*]:-nothing, no tool is installed}; of valgrind, AddressSanitizer, Miri and Arm"
