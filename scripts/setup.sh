#!/usr/bin/env bash
# Installs what is missing: `setup.sh build` for building, `setup.sh test` for the tests too.
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

# Each line: a file that shows the package is there, and the package.
build_packages() {
    echo "/usr/bin/cc build-essential"
}
test_packages() {
    build_packages
    echo "/usr/bin/chromium chromium"
}

missing=()
while read -r file package; do
    [ -e "$file" ] || missing+=("$package")
done < <("${what}_packages")
if [ "${#missing[@]}" -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
fi

if [ "$what" = test ]; then
    stamp=.venv/requirements.installed
    if ! cmp -s tests/requirements.txt "$stamp"; then
        python3 -m venv .venv
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
        cp tests/requirements.txt "$stamp"
    fi
fi
