#!/usr/bin/env bash
# Opens a report where there is a desktop; says nothing elsewhere.
set -euo pipefail
report="$1"
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then
    xdg-open "$report" >/dev/null 2>&1 &
fi
