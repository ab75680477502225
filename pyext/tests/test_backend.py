"""The build backend: what it gives maturin, with Cargo and maturin's own work stood in for; and the source
distribution as the real maturin makes it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import pytest

PYEXT = Path(__file__).resolve().parent.parent
MATURIN = shutil.which("maturin", path=str(Path(sys.executable).parent)) or shutil.which("maturin")

# Stands for Cargo: notes its arguments, and leaves a program as `cargo build` would.
CARGO = """#!{python}
import json, os, pathlib, sys
pathlib.Path("asked.txt").write_text(" ".join(sys.argv[1:]))
if os.environ.get("CARGO_FAILS"):
    sys.exit("error: linking failed")
built = pathlib.Path("elsewhere/gpumemprof-viewer")
built.parent.mkdir()
built.write_text("#!/bin/sh\\necho the viewer\\n")
artifact = {{"reason": "compiler-artifact", "target": {{"name": "gpumemprof-viewer"}}}}
print(json.dumps({{**artifact, "target": {{"name": "egui"}}, "executable": None}}))
print(json.dumps({{**artifact, "executable": str(built.resolve())}}))
print(json.dumps({{"reason": "build-finished", "success": True}}))
"""


class Build:
    """A folder to build in, and what maturin found there when it was asked for a wheel."""

    def __init__(self, backend: types.ModuleType) -> None:
        self.backend = backend
        self.found: dict[str, bytes] | None = None

    def wheel(self, *_: object) -> str:
        """Stands for maturin's hooks."""
        files = list(Path("gpumemprof._native.data/scripts").glob("*"))
        assert all(os.access(path, os.X_OK) for path in files)
        self.found = {path.name: path.read_bytes() for path in files}
        return "gpumemprof.whl"

    @property
    def asked(self) -> str | None:
        """Cargo's arguments, if it was asked."""
        asked = Path("asked.txt")
        return asked.read_text() if asked.exists() else None


@pytest.fixture
def build(tmp_path, monkeypatch):
    maturin = types.ModuleType("maturin")
    for hook in ("wheel", "editable", "sdist"):
        setattr(maturin, f"get_requires_for_build_{hook}", lambda *_: [])
        setattr(maturin, f"prepare_metadata_for_build_{hook}", lambda *_: "")
    maturin.build_sdist = lambda *_: ""
    maturin.get_maturin_pep517_args = lambda settings: (settings or {}).get("build-args", "").split()
    monkeypatch.setitem(sys.modules, "maturin", maturin)
    spec = importlib.util.spec_from_file_location("backend", PYEXT / "backend" / "gpumemprof_backend.py")
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    build = Build(backend)
    maturin.build_wheel = maturin.build_editable = build.wheel
    cargo = tmp_path / "bin" / "cargo"
    cargo.parent.mkdir()
    cargo.write_text(CARGO.format(python=sys.executable))
    cargo.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(cargo.parent), os.environ["PATH"]]))
    monkeypatch.delenv("GPUMEMPROF_VIEWER", raising=False)
    monkeypatch.chdir(tmp_path)
    yield build
    assert not Path("gpumemprof._native.data").exists()


def test_a_wheel_gets_the_viewer(build):
    assert build.backend.build_wheel("out") == "gpumemprof.whl"
    assert build.found == {"gpumemprof-viewer": b"#!/bin/sh\necho the viewer\n"}
    assert "--profile release" in build.asked and "--target" not in build.asked


def test_the_viewer_is_built_as_the_native_half_is(build):
    build.backend.build_wheel("out", {"build-args": "--profile dev --locked --zig --target aarch64-apple-darwin"})
    assert "--profile dev --target aarch64-apple-darwin --locked" in build.asked
    assert "--zig" not in build.asked and len(build.found) == 1


def test_it_is_left_out_where_that_is_asked_for_and_in_editable_installs(build, monkeypatch, capfd):
    build.backend.build_editable("out")
    assert build.found == {} and build.asked is None
    monkeypatch.setenv("GPUMEMPROF_VIEWER", "no")
    build.found = None
    build.backend.build_wheel("out")
    assert build.found == {} and build.asked is None
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("GPUMEMPROF_VIEWER", "yes")
    build.backend.build_editable("out")
    assert len(build.found) == 1


def test_a_viewer_that_cannot_be_built_is_said(build, monkeypatch, capfd):
    monkeypatch.setenv("CARGO_FAILS", "1")
    build.backend.build_wheel("out")
    assert build.found == {}
    said = capfd.readouterr().err
    assert "error: linking failed" in said and "WITHOUT THE VIEWER" in said and "ended with 1" in said
    monkeypatch.setenv("GPUMEMPROF_VIEWER", "yes")
    with pytest.raises(SystemExit):
        build.backend.build_wheel("out")
    assert "could not be built" in capfd.readouterr().err
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("GPUMEMPROF_VIEWER", "auto")
    build.backend.build_wheel("out")
    assert build.found == {} and "WITHOUT THE VIEWER" in capfd.readouterr().err


def test_another_choice_is_refused(build, monkeypatch, capfd):
    monkeypatch.setenv("GPUMEMPROF_VIEWER", "maybe")
    with pytest.raises(SystemExit):
        build.backend.build_wheel("out")
    assert "GPUMEMPROF_VIEWER=maybe: expected auto, yes or no" in capfd.readouterr().err
    assert build.found is None


@pytest.mark.skipif(MATURIN is None, reason="no maturin beside this Python or on PATH")
def test_a_source_distribution_can_build_all_of_it(tmp_path):
    command = [MATURIN, "sdist", "--manifest-path", PYEXT / "Cargo.toml", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    (root,) = (path.parent for path in tmp_path.glob("*/PKG-INFO"))
    assert (root / "backend" / "gpumemprof_backend.py").is_file()
    metadata = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    done = subprocess.run(metadata, check=True, capture_output=True, cwd=root)
    packages = {package["name"]: package for package in json.loads(done.stdout)["packages"]}
    (program,) = (one for one in packages["gpumemprof-viewer"]["targets"] if one["kind"] == ["bin"])
    assert program["name"] == "gpumemprof-viewer" and Path(program["src_path"]).is_file()
