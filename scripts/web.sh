#!/usr/bin/env bash
# Makes the viewer's web page: `web.sh PAGE.html`.
set -euo pipefail
cd "$(dirname "$0")/.."
page="$1"
target=wasm32-unknown-unknown
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    rustup target add "$target"
fi
version() { grep -A1 '^name = "wasm-bindgen"$' "$1" | sed -n 's/^version = //p'; }
if [ "$(version Cargo.lock)" != "$(version viewer/web/Cargo.lock)" ]; then
    echo "web: wasm-bindgen is $(version Cargo.lock) here and $(version viewer/web/Cargo.lock) in viewer/web: make them the same" >&2
    exit 1
fi
cargo build --locked --profile web --target "$target" -p gpumemprof-viewer
cargo run --locked --quiet --release --manifest-path viewer/web/Cargo.toml \
    --target-dir target/viewer-page -- "target/$target/web/gpumemprof-viewer.wasm" "$page"
if [ -x .venv/bin/pytest ] && command -v chromium >/dev/null; then
    GPUMEMPROF_VIEWER_PAGE="$PWD/$page" .venv/bin/python -m pytest --quiet tests/browser/test_viewer_page.py
fi
