#!/usr/bin/env bash
# Makes the Python package's wheel with the viewer in it: `wheel.sh FOLDER`. Built otherwise, the
# wheel is the same without the viewer.
#
# maturin puts what lies in `MODULE.data/scripts` beside pyproject.toml among the programs of the
# environment that the wheel is installed in.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$1"
# `dev` for a quick try.
profile="${GPUMEMPROF_WHEEL_PROFILE:-release}"
venv=target/wheel-venv
scripts=pyext/gpumemprof._native.data/scripts
if ! [ -x "$venv/bin/maturin" ]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.9.4,<2'
fi
cargo build --locked --profile "$profile" -p gpumemprof-viewer
built="target/${profile/#dev/debug}/gpumemprof-viewer"
mkdir -p "$scripts"
trap 'rm -rf pyext/gpumemprof._native.data' EXIT
strip -o "$scripts/gpumemprof-viewer" "$built"
chmod 755 "$scripts/gpumemprof-viewer"
"$venv/bin/maturin" build --locked --profile "$profile" --manifest-path pyext/Cargo.toml --out "$folder"
