"""What the tests share: the simulated device and the PyTorch versions to run on it.

Each PyTorch is an interpreter of its own: ``GPUMEMPROF_TORCH_PYTHONS``, a colon-separated list. The
simulated device is the repository's ``simgpu``. A test that lacks either skips and says so. An interpreter
whose PyTorch has a real GPU (``GPUMEMPROF_GPU_PYTHON``) runs, on it, every test that needs no device made to
order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGE = Path(os.environ.get("GPUMEMPROF_PACKAGE", HERE.parent / "python"))
PROGRAMS = HERE / "programs"


def shared() -> Path:
    """The reference snapshots, or a skip."""
    folder = Path(os.environ.get("GPUMEMPROF_SHARED", ROOT.parent / "shared")) / "snapshots"
    if not folder.is_dir():
        pytest.skip(f"no reference snapshots at {folder}")
    return folder


def pythons() -> list[str]:
    """Interpreters that have a CUDA build of PyTorch."""
    return [path for path in os.environ.get("GPUMEMPROF_TORCH_PYTHONS", "").split(":") if path]


def gpu_python() -> str:
    """The interpreter that has a real GPU; "" for none."""
    return os.environ.get("GPUMEMPROF_GPU_PYTHON", "")


def simulator() -> Path:
    """The launcher of the simulated device."""
    return Path(os.environ.get("GPUMEMPROF_SIMGPU", ROOT / "simgpu")) / "run.py"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        found = {path.split("/")[-3]: (path, False) for path in pythons()}
        if gpu_python():
            found["gpu"] = (gpu_python(), True)
        metafunc.parametrize("device", list(found.values()) or [None], indirect=True, ids=list(found) or ["none"])


class Device:
    """Runs programs with one PyTorch, on a simulated device or on the real one."""

    def __init__(self, python: str, is_real: bool, tmp_path: Path) -> None:
        self.python = python
        self.is_real = is_real
        self.tmp = tmp_path

    def run(
        self, *arguments: str, simulated: tuple[str, ...] = (), code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess:
        """Runs ``python arguments``; checks the exit code."""
        command = [self.python, *arguments]
        if self.is_real:
            if simulated:
                pytest.skip("needs a device made to order")
        else:
            options = simulated or ("--capacity", "80GiB")
            command = [sys.executable, str(simulator()), *options, "--", *command]
        paths = [str(PACKAGE), str(PROGRAMS)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
        done = subprocess.run(command, env=env, cwd=self.tmp, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done

    def result(self, *arguments: str, **options) -> dict:
        """Runs a program whose last line of output is JSON."""
        done = self.run(*arguments, **options)
        return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Device:
    if request.param is None:
        pytest.skip("no PyTorch to record: set GPUMEMPROF_TORCH_PYTHONS to interpreters that have it")
    python, is_real = request.param
    if not is_real and not simulator().exists():
        pytest.skip(f"no simulated device at {simulator()}")
    return Device(python, is_real, tmp_path)
