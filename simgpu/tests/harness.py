"""The environments of `tests/install_torch.py`, and how programs run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

import run as simgpu  # noqa: E402

VERSIONS = ["2.15", "2.6"]


def python_of(version: str) -> Path:
    """The Python of an environment; skips the test without it."""
    named = os.environ.get(f"GPUMEMPROF_TORCH_{version.replace('.', '_')}")
    python = Path(named) if named else ROOT / ".venv" / f"torch-{version}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"skipped: no {python}: run tests/install_torch.py {version}")
    return python


def launch(
    version: str,
    program: str,
    *arguments: str,
    alloc_conf: str = "",
    **settings: object,
) -> dict:
    """Runs a function of `programs.py` in a process of its own; what it returns."""
    env = simgpu.environment(**settings)
    env.pop("PYTORCH_CUDA_ALLOC_CONF", None)
    if alloc_conf:
        env["PYTORCH_CUDA_ALLOC_CONF"] = alloc_conf
    command = [python_of(version), HERE / "programs.py", program, *arguments]
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
