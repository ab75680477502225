"""Recording beside what the program does itself."""

from __future__ import annotations

import json

import gpumemprof
import pytest
from conftest import PROGRAMS

PROGRAM = str(PROGRAMS / "guests.py")


def test_recording_that_was_on_stays_as_it_was(device):
    result = device.result(PROGRAM, "already")
    assert result["is_on"] and 0 < result["events"] <= 77


def test_a_fork_before_cuda_records_for_itself_and_one_after_does_not(device):
    result = device.result(PROGRAM, "fork")
    assert result == {"initialised": False, "status": 0, "second": 5}
    names = sorted(path.name for path in (device.tmp / "runs").glob("*/*.pickle"))
    assert names == ["child.pickle", "parent.pickle"]
    assert len(list((device.tmp / "runs").iterdir())) == 2


def test_each_device_has_its_peak(device):
    result = device.result(PROGRAM, "devices", simulated=("--devices", "2"))
    snapshot = gpumemprof.read(device.tmp / result["path"])
    for of in snapshot.stats()["devices"]:
        assert of["requested_peak_bytes"] == result["peaks"][str(of["device"])]


def test_a_signal_dumps(device):
    device.run(PROGRAM, "signal")
    assert len(list((device.tmp / "runs").glob("*/signal.pickle"))) == 1


def test_annotations_of_the_program_and_of_its_backward_pass_are_recorded(device):
    result = device.result(PROGRAM, "annotations")
    if result["names"] is None:
        pytest.skip("this PyTorch records no annotations")
    assert {"in main", "in backward"} <= set(result["names"])


def test_polling_and_fewer_events_agree_with_the_counters(device):
    result = device.result(PROGRAM, "poll")
    counters, blocks = result["counters"], result["poll"]["blocks"]
    assert result["poll"]["counters"]["requested_bytes_peak"] == counters["requested_bytes_peak"]
    if blocks is not None:
        parts = ("allocated_bytes", "pending_bytes", "split_free_bytes", "whole_free_bytes")
        assert blocks["reserved_bytes"] == counters["reserved_bytes_current"] == sum(blocks[part] for part in parts)
        assert blocks["allocated_bytes"] == counters["allocated_bytes_current"]
    (of,) = gpumemprof.read(device.tmp / result["path"]).stats()["devices"]
    assert of["requested_peak_bytes"] == counters["requested_bytes_peak"]
    assert of["requested_final_bytes"] == counters["requested_bytes_current"]
    missing = json.loads((device.tmp / result["path"]).with_suffix(".gpumemprof.json").read_text())["recording"][
        "missing"
    ]
    assert ("free_requested" in result["actions"]) == any("skip_actions" in sentence for sentence in missing)


def test_a_fault_in_our_hooks_costs_one_line(device):
    done = device.run(PROGRAM, "breaks")
    assert json.loads(done.stdout.splitlines()[-1]) == {"is_trained": True}
    ours = [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]
    assert ours == ["gpumemprof: allocations are labelled no more: RuntimeError: a fault of ours"]


def test_an_exception_of_a_module_goes_through_as_it_is(device):
    result = device.result(PROGRAM, "raises")
    assert result["message"] == "of its own"
    assert len(result["frames"]) > 6 and not any("gpumemprof" in file for file in result["frames"])
    assert not result["is_inside"]
    # What follows a failure is not the loss.
    assert "module" not in json.loads(result["label"])


def test_disabling_leaves_nothing_behind(device):
    assert device.result(PROGRAM, "off") == {"same": True, "is_on": False}


def test_without_a_device_it_says_so_and_stays_out_of_the_way(device):
    code = "import gpumemprof, torch; assert not gpumemprof.enable('runs'); print(torch.zeros(2).sum().item())"
    done = device.run("-c", code, simulated=("--devices", "1"), CUDA_VISIBLE_DEVICES="")
    assert "not recording" in done.stderr and done.stdout.strip() == "0.0"
