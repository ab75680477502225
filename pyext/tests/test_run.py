"""`gpumemprof run`, on the simulated device."""

from __future__ import annotations

import json

import gpumemprof
from conftest import PROGRAMS

PROGRAM = str(PROGRAMS / "plain_train.py")


def test_a_script_is_recorded_unchanged_and_keeps_its_exit_code(device):
    device.run("-m", "gpumemprof", "run", "--out", "runs", PROGRAM, "exit", code=7)
    (path,) = (device.tmp / "runs").glob("rank0_*/exit.pickle")
    snapshot = gpumemprof.read(path)
    assert snapshot.peak("category").unknown_bytes == 0
    assert "blocks.0.attn" in snapshot.peak("layer").to_dict()


def test_every_rank_has_its_folder(device):
    torchrun = device.python.rpartition("/")[0] + "/torchrun"
    device.run("-m", "gpumemprof", "run", "--out", "runs", "--", torchrun, "--nproc-per-node", "4", PROGRAM)
    folders = sorted(path.name.split("_")[0] for path in (device.tmp / "runs").iterdir())
    assert folders == ["rank0", "rank1", "rank2", "rank3"]
    for path in (device.tmp / "runs").glob("*/exit.gpumemprof.json"):
        sidecar = json.loads(path.read_text())
        assert sidecar["run"]["environment"]["RANK"] == str(sidecar["rank"])


def test_only_the_steps_asked_for_are_recorded(device):
    device.run("-m", "gpumemprof", "run", "--out", "runs", "--steps", "1-1", PROGRAM)
    (folder,) = (device.tmp / "runs").iterdir()
    assert sorted(path.name for path in folder.glob("*.pickle")) == ["step-1.pickle"]
    steps = gpumemprof.read(folder / "step-1.pickle").peak("step").to_dict()
    assert "step 1" in steps and "step 2" not in steps


def test_bad_options_are_said(device):
    done = device.run("-m", "gpumemprof", "run", "--steps", "x", PROGRAM, code=2)
    assert "10-20" in done.stderr
    done = device.run("-m", "gpumemprof", "run", "--", "no-such-command-at-all", code=127)
    assert "no-such-command-at-all" in done.stderr
