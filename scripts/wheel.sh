#!/usr/bin/env bash
# Makes a wheel with the viewer in it, so that `gpumemprof view` works after `pip install`:
# `wheel.sh FOLDER [maturin's options]`.
set -euo pipefail
cd "$(dirname "$0")/.."
out="$(realpath -m "$1")"
shift
maturin="$(command -v maturin || echo "$PWD/.venv/bin/maturin")"
# What lies in a wheel's scripts goes beside the interpreter (https://www.maturin.rs, "Adding
# wheel data").
scripts=pyext/gpumemprof.data/scripts
mkdir -p "$scripts"
trap 'rm -rf pyext/gpumemprof.data' EXIT
viewer="${GPUMEMPROF_VIEWER:-target/release/gpumemprof-viewer}"
[ -n "${GPUMEMPROF_VIEWER:-}" ] || cargo build --release --locked -p gpumemprof-viewer
cp "$viewer" "$scripts/"
command -v strip >/dev/null && strip "$scripts/$(basename "$viewer")" || true
"$maturin" build --locked --manifest-path pyext/Cargo.toml --out "$out" "$@"
