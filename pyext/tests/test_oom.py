"""Running out of memory, on the simulated device."""

from __future__ import annotations

import json

import gpumemprof
import pytest
from conftest import PROGRAMS

SMALL = ("--capacity", "2GiB", "--context", "300MiB", "--others", "77=512MiB")
PROGRAM = str(PROGRAMS / "oom.py")


def only_folder(device):
    (folder,) = (device.tmp / "runs").iterdir()
    return folder


def test_an_uncaught_error_is_explained_and_stays_what_it_was(device):
    done = device.run(PROGRAM, "raise", "runs", simulated=SMALL, code=1)
    assert done.stderr.rstrip().splitlines()[-1].startswith("torch.OutOfMemoryError: CUDA out of memory")
    ours = [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]
    assert 5 <= len(ours) <= 10, ours
    folder = only_folder(device)
    assert sorted(path.name for path in folder.iterdir()) == [
        "oom-1.gpumemprof.json",
        "oom-1.pickle",
        "report-oom-1.html",
    ]
    sidecar = json.loads((folder / "oom-1.gpumemprof.json").read_text())
    assert sidecar["oom"]["outcome"] == "raised"
    assert sidecar["current"]["phase"] == "forward" and sidecar["current"]["step"] == 1
    assert sidecar["batches"][-1]["inputs"] == ["(256, 512)int64"]
    assert any("models.py" in frame for frame in sidecar["oom"]["python_stack"])
    (outside,) = sidecar["outside_pytorch"]
    assert outside["process_outside_bytes"] == 300 << 20
    assert outside["others"] == [{"process": 77, "used_bytes": 512 << 20, "name": None}]
    snapshot = gpumemprof.read(folder / "oom-1.pickle")
    (oom,) = snapshot.ooms(device_total=2 << 30)
    assert oom["evidence"]["outside_bytes"] == 812 << 20
    held = snapshot.peak("category", at="oom")
    counters = sidecar["run"]["devices"][0]["counters"]
    assert held.requested_bytes == counters["requested_bytes_current"]
    assert held.unknown_bytes == 0
    assert gpumemprof.oom_messages(done.stderr)[-1]["requested"]["bytes"] > 0


def test_a_caught_error_is_recorded_as_recovered(device):
    result = device.result(PROGRAM, "catch", "runs", simulated=SMALL)
    assert result["ooms"] == 1
    sidecar = json.loads((only_folder(device) / "oom-1.gpumemprof.json").read_text())
    assert sidecar["oom"]["outcome"] == "recovered"


def test_a_loop_of_errors_is_counted_not_dumped(device):
    done = device.run(PROGRAM, "loop", "runs", simulated=SMALL)
    assert json.loads(done.stdout.splitlines()[-1])["ooms"] == 30
    assert len(list(only_folder(device).glob("*.pickle"))) <= 3


def test_an_error_in_a_thread_is_explained(device):
    done = device.run(PROGRAM, "thread", "runs", simulated=SMALL)
    assert "Exception in thread" in done.stderr and "OutOfMemoryError" in done.stderr
    assert (only_folder(device) / "oom-1.pickle").exists()


def test_a_folder_that_cannot_be_written_costs_one_line(device):
    (device.tmp / "runs").write_text("a file, not a folder")
    done = device.run(PROGRAM, "raise", "runs", simulated=SMALL, code=1)
    assert done.stderr.rstrip().splitlines()[-1].startswith("torch.OutOfMemoryError: CUDA out of memory")
    ours = [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]
    assert len(ours) == 1 and "no out-of-memory report" in ours[0]


def test_a_full_disk_costs_one_line(device):
    done = device.run(PROGRAM, "full", "runs", simulated=SMALL, code=1)
    assert done.stderr.rstrip().splitlines()[-1].startswith("torch.OutOfMemoryError: CUDA out of memory")
    ours = [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]
    assert len(ours) == 1 and "no out-of-memory report: OSError" in ours[0], ours
    assert not any(path.name.endswith(".pickle") for path in only_folder(device).iterdir())
    assert not any(path.name.startswith(".") for path in only_folder(device).iterdir()), "half a file is left"


def test_a_failure_inside_the_observer_costs_one_line(device):
    done = device.run(PROGRAM, "inside", "runs", simulated=SMALL, code=1)
    assert done.stderr.rstrip().splitlines()[-1].startswith("torch.OutOfMemoryError: CUDA out of memory")
    assert "Tried to allocate 32.00 GiB" not in done.stderr.rstrip().splitlines()[-1]
    ours = [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]
    assert len(ours) == 1 and "no out-of-memory report: OutOfMemoryError" in ours[0], ours


def test_without_time_to_explain_the_snapshot_is_there(device):
    done = device.run(PROGRAM, "budget", "runs", simulated=SMALL, code=1)
    assert "torch.OutOfMemoryError: CUDA out of memory" in done.stderr
    assert "takes too long to wait for" in done.stderr
    assert (only_folder(device) / "oom-1.pickle").exists()


def test_a_rejection_that_no_observer_sees_is_caught_at_the_exception(device):
    """PyTorch 2.12 and later; before, the setting is unknown and the observer is told as ever."""
    settings = "throw_on_cudamalloc_oom:True"
    done = device.run(PROGRAM, "rejected", "runs", simulated=SMALL, code=1, PYTORCH_CUDA_ALLOC_CONF=settings)
    if "Unrecognized" in done.stderr:
        pytest.skip("this PyTorch does not know throw_on_cudamalloc_oom")
    assert "OutOfMemoryError" in done.stderr.rstrip().splitlines()[-1]
    names = {path.name for path in only_folder(device).glob("*.pickle")}
    assert names in ({"oom-exception.pickle"}, {"oom-1.pickle"}), names
