#!/usr/bin/env bash
# The tests written in Python, against the debug binary that `cargo test` left.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace --locked
.venv/bin/python -m pytest tests
