#!/usr/bin/env python3
"""Makes the project's own PyTorch environments: `.venv/torch-2.15` and `.venv/torch-2.6`.

    python3 tests/install_torch.py            # both
    python3 tests/install_torch.py 2.15       # one

Safe to run again: an environment that already has what is asked for is left as it is. The CUDA wheels of
PyTorch are installed without the gigabytes of NVIDIA's own libraries they name: `simgpu` stands in for all of
them. Download: 540 MB for 2.15.0, 770 MB for 2.6.0, about 60 MB for the rest of each.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Wheels whose own dependencies are not wanted: NVIDIA's libraries and Triton.
WITHOUT_DEPENDENCIES = {
    "2.15": ["torch==2.15.0", "torchvision==0.29.2"],
    "2.6": ["torch==2.6.0", "torchvision==0.21.0"],
}

# What PyTorch and torchvision import of other projects, the models that tests train, and the test runner.
COMMON = [
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "numpy",
    "pillow",
    "pytest>=8",
    "setuptools>=77",
    "transformers==5.23.0",
    "typing_extensions>=4.13",
]
SYMPY = {"2.15": "sympy>=1.13.3", "2.6": "sympy==1.13.1"}


def install(version: str) -> Path:
    """Makes or completes one environment; the path of its Python."""
    home = ROOT / ".venv" / f"torch-{version}"
    python = home / "bin" / "python"
    bare = WITHOUT_DEPENDENCIES[version]
    rest = [*COMMON, SYMPY[version]]
    stamp = home / "installed.txt"
    wanted = "\n".join([*bare, *rest]) + "\n"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        print(f"{home.relative_to(ROOT)}: up to date")
        return python
    started = time.monotonic()
    venv.create(home, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", *bare], check=True)
    # pip lists the libraries left out as conflicts and exits 0: that is the intent.
    done = subprocess.run([*pip, *rest], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    stamp.write_text(wanted)
    print(f"{home.relative_to(ROOT)}: installed in {time.monotonic() - started:.0f} s")
    return python


def main() -> None:
    versions = sys.argv[1:] or list(WITHOUT_DEPENDENCIES)
    for version in versions:
        if version not in WITHOUT_DEPENDENCIES:
            sys.exit(f"no environment for torch {version}: known are {', '.join(WITHOUT_DEPENDENCIES)}")
        install(version)


if __name__ == "__main__":
    main()
