#!/usr/bin/env bash
# The tests written in Python: the report in a browser, and the real PyTorch on the simulated
# device. They use the debug build that `cargo build` leaves.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
cargo build --workspace --locked
# The package as `maturin develop` would lay it out, without a second build.
cp "target/debug/lib$(sed -n '/^\[lib\]/,/^\[/s/^name = "\(.*\)"/\1/p' pyext/Cargo.toml).so" \
    pyext/python/gpumemprof/_native.abi3.so

pytest=(.venv/bin/python -m pytest --quiet)
export GPUMEMPROF_TORCH_PYTHONS="$root/.venv/torch-2.15/bin/python:$root/.venv/torch-2.6/bin/python"
# Where there is a real GPU, on it too, with the PyTorch that this machine's own python3 has.
if [ -z "${GPUMEMPROF_GPU_PYTHON:-}" ] && nvidia-smi -L >/dev/null 2>&1 &&
    python3 -c 'import torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null; then
    GPUMEMPROF_GPU_PYTHON="$(command -v python3)"
    export GPUMEMPROF_GPU_PYTHON
fi
"${pytest[@]}" tests
"${pytest[@]}" simgpu/tests
PYTHONPATH="$root/pyext/python" "${pytest[@]}" pyext/tests
