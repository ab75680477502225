#!/usr/bin/env bash
# Installs what is missing: `setup.sh build` for building, `setup.sh wheel` for the Python package's wheel,
# `setup.sh test` for the tests too.
# Needs Rust (https://rustup.rs) and Python 3.9 or later; Debian's packages are installed with
# apt-get, as root or through sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
what="${1:-build}"

command -v cargo >/dev/null || {
    echo "setup: cargo was not found. Install Rust 1.95 or later (https://rustup.rs) and run this again." >&2
    exit 1
}
command -v python3 >/dev/null || {
    echo "setup: python3 was not found. Install Python 3.9 or later and run this again." >&2
    exit 1
}

# What is needed: a check that succeeds where it is there, and the Debian package.
need() {
    local check="$1" package="$2"
    bash -c "$check" >/dev/null 2>&1 || missing+=("$package")
}

missing=()
need "command -v cc" build-essential
if [ "$what" = test ]; then
    need "command -v chromium" chromium
fi
if [ "$what" != build ]; then
    need "python3 -c 'import ensurepip'" python3-venv
fi
if [ "${#missing[@]}" -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ "$what" = test ] && ! cmp -s tests/requirements.txt .venv/requirements.installed; then
    echo "setup: the tests' Python tools, in .venv"
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
    cp tests/requirements.txt .venv/requirements.installed
fi
if [ "$what" = test ]; then
    # Inside .venv: two PyTorch versions for the simulated device.
    python3 tests/install_torch.py
fi
