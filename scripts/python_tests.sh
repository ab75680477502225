#!/usr/bin/env bash
# The tests written in Python: the report in a browser, and the real PyTorch on the simulated
# device. They use the debug build that `cargo build` leaves.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace --locked
.venv/bin/python -m pytest tests simgpu/tests
