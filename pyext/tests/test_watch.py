"""The device from outside PyTorch, on the simulated device."""

from __future__ import annotations

import json

import gpumemprof
import pytest
from conftest import PROGRAMS

PROGRAM = str(PROGRAMS / "watch.py")
MIB = 1 << 20
UUID = "73696d67-7075-4000-8000-00000000000"


@pytest.fixture(autouse=True)
def own_pulses(tmp_path, monkeypatch):
    """Processes of other tests are not to be seen."""
    monkeypatch.setenv("GPUMEMPROF_RUNTIME_DIR", str(tmp_path / "pulses"))


def ours(done):
    return [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]


def test_outside_is_exact_over_time_and_other_processes_are_named(device):
    result = device.result(
        PROGRAM, "top", simulated=("--context", "300MiB", "--others", "77=512MiB", "--reserved", "600MiB")
    )
    (outside,) = result["outside"]
    assert outside["process"] == result["pid"] and outside["told_by"] == "process_id"
    assert outside["process_outside_bytes"] == 300 * MIB
    assert outside["reserved_bytes"] == 600 * MIB
    assert outside["others"] == [{"process": 77, "used_bytes": 512 * MIB, "name": None}]
    # CUDA's own view of the same device.
    (seen,) = result["devices"]
    assert seen["uuid"].endswith(UUID + "0")
    assert seen["cuda_free_bytes"] == outside["free_bytes"]
    # What a reader of the file gets: every figure that there is, is the context.
    snapshot = gpumemprof.read(result["path"])
    (stats,) = json.loads(snapshot._raw.stats_json())["devices"]
    told = stats["outside_pytorch"]
    assert told["looks"] > 30 and not told["is_inferred"]
    for name in ("at_peak", "most", "last"):
        assert told[name]["outside_bytes"] == 300 * MIB, name
        assert told[name]["others_bytes"] == 512 * MIB
    assert told["at_peak"]["reserved_bytes"] == 300 * MIB and told["last"]["reserved_bytes"] == 100 * MIB
    page = snapshot.report(device.tmp / "report.html").read_text()
    assert 'id="outside"' in page and "Outside PyTorch this process held up to 300.00 MiB" in page
    # PyTorch's counters on the same clock.
    assert result["counters"]["reserved_bytes"][-1] == 100 * MIB
    assert max(result["counters"]["reserved_bytes"]) == 300 * MIB
    # And what `gpumemprof top` showed meanwhile.
    (board,) = result["top"]["devices"]
    first, second = board["processes"]
    assert (first["process"], first["used_bytes"]) == (77, 512 * MIB) and first["pytorch"] is None
    assert second["process"] == result["pid"] and second["used_bytes"] == 400 * MIB
    assert second["name"].endswith("watch.py")
    split = second["pytorch"]
    assert split["reserved_bytes"] == split["allocated_bytes"] == split["requested_bytes"] == 100 * MIB
    assert split["outside_bytes"] == 300 * MIB and split["reserved_peak_bytes"] == 300 * MIB


@pytest.mark.parametrize(("visible", "board"), [("1", 1), ("GPU-" + UUID + "1", 1), ("1,0", 1), ("0", 0)])
def test_visible_devices_are_the_right_boards(device, visible, board):
    result = device.result(PROGRAM, simulated=("--devices", "2"), CUDA_VISIBLE_DEVICES=visible)
    used = [one["used_bytes"] for one in result["last"]["boards"]]
    assert used[board] == 100 * MIB and used[1 - board] == 0
    first = result["outside"][0]
    assert first["device"] == 0 and first["board"] == board
    assert first["process_used_bytes"] == 100 * MIB and first["process_outside_bytes"] == 0
    assert result["devices"][0]["uuid"].endswith(UUID + str(board))


def test_no_visible_device_is_said(device):
    done = device.run(PROGRAM, simulated=("--devices", "2"), CUDA_VISIBLE_DEVICES="")
    assert json.loads(done.stdout)["on"] is False
    assert len(ours(done)) == 1 and "no CUDA device" in ours(done)[0]


def test_old_drivers_are_asked_the_old_way(device):
    result = device.result(
        PROGRAM, simulated=("--reserved", "600MiB", "--context", "1MiB", "--nvml-fault", "memory-v1,processes-v1")
    )
    (outside,) = result["outside"]
    # The first memory call counts what the driver keeps as used.
    assert outside["reserved_bytes"] is None and outside["used_bytes"] == 701 * MIB
    assert outside["process_outside_bytes"] == MIB


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-permission", "does not list the processes"),
        ("no-process-memory", "does not say how much memory each process holds"),
        ("no-driver", "driver is not loaded"),
        ("lost-after=10", "fell off the bus"),
    ],
)
def test_what_nvml_refuses_is_said_once_and_the_rest_works(device, fault, words):
    done = device.run(PROGRAM, simulated=("--nvml-fault", fault))
    result = json.loads(done.stdout)
    said = [line for line in ours(done) if words in line]
    assert len(said) == 1, done.stderr
    for outside in result["outside"]:
        assert outside["process_used_bytes"] is None and outside["process_outside_bytes"] is None
    assert gpumemprof.read(result["path"]).peak("layer").requested_bytes == 300 * MIB
    assert result["counters"]["reserved_bytes"][-1] == 100 * MIB


def test_in_a_container_the_process_is_inferred_or_not_told(device):
    container = ("--pid-offset", "100000", "--context", "10MiB")
    result = device.result(PROGRAM, "top", simulated=(*container, "--others", "77=5MiB"))
    (outside,) = result["outside"]
    assert outside["told_by"] == "only_candidate" and outside["process"] == result["pid"] + 100_000
    assert outside["process_outside_bytes"] == 10 * MIB
    split = result["top"]["devices"][0]["processes"][0]["pytorch"]
    assert split["told_by"] == "only_candidate" and split["process"] == result["pid"]
    result = device.result(PROGRAM, "top", simulated=(*container, "--others", "77=500MiB"))
    (outside,) = result["outside"]
    assert outside["process"] is None and outside["others"] is None and len(outside["processes"]) == 2
    rows = result["top"]["devices"][0]["processes"]
    assert sorted(str(row["process"]) for row in rows) == sorted(["77", str(result["pid"] + 100_000), "None"])


def test_mig_instances_have_their_own_figures(device):
    result = device.result(PROGRAM, simulated=("--mig", "10GiB,20GiB"))
    (board,) = result["samples"]["boards"]
    assert board["is_mig"] and [one["uuid"][:4] for one in board["instances"]] == ["MIG-", "MIG-"]
    (sample,) = result["last"]["boards"]
    assert [one["total_bytes"] >> 30 for one in sample["instances"]] == [10, 20]
    assert [one["used_bytes"] for one in sample["instances"]] == [100 * MIB, 0]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_of_several_mig_instances_the_own_one_counts(device, number):
    """On an instance of the second board; another process is on that board's first."""
    sizes = [10, 20, 5]
    uuid = f"73696d67-7075-4000-8000-000000001{number}01"
    machine = ("--devices", "2", "--mig", "10GiB,20GiB,5GiB", "--others", "1/77=512MiB", "--context", "10MiB")
    result = device.result(PROGRAM, "top", simulated=machine, CUDA_VISIBLE_DEVICES=f"MIG-{uuid}")
    # What CUDA shows: this instance alone.
    (seen,) = result["devices"]
    assert seen["uuid"] == uuid and seen["total_bytes"] == sizes[number] << 30
    assert seen["cuda_free_bytes"] == (sizes[number] << 30) - (622 if number == 0 else 110) * MIB
    # What NVML shows: all of them.
    used = [[one["used_bytes"] // MIB for one in board["instances"]] for board in result["last"]["boards"]]
    expected = [512, 0, 0]
    expected[number] += 110
    assert used == [[0, 0, 0], expected]
    (outside,) = result["outside"]
    assert (outside["board"], outside["instance"], outside["told_by"]) == (1, number, "process_id")
    assert outside["total_bytes"] == sizes[number] << 30 and outside["used_bytes"] == expected[number] * MIB
    assert outside["process_used_bytes"] == 110 * MIB and outside["process_outside_bytes"] == 10 * MIB
    assert [one["process"] for one in outside["others"]] == ([77] if number == 0 else [])
    # And what a reader of the file and `gpumemprof top` make of it.
    (stats,) = json.loads(gpumemprof.read(result["path"])._raw.stats_json())["devices"]
    told = stats["outside_pytorch"]
    assert told["looks"] > 30 and told["last"]["outside_bytes"] == 10 * MIB
    assert told["last"]["others_bytes"] == (512 * MIB if number == 0 else 0)
    (row,) = [one for one in result["top"]["devices"][1]["processes"] if one["process"] == result["pid"]]
    assert row["instance"] == number and row["used_bytes"] == 110 * MIB
    assert row["pytorch"]["outside_bytes"] == 10 * MIB and result["top"]["devices"][0]["processes"] == []


def test_metrics_are_served(device):
    done = device.run(PROGRAM, "metrics", simulated=("--context", "10MiB"))
    assert any("http://127.0.0.1:" in line for line in ours(done))
    result = json.loads(done.stdout)
    lines = result["metrics"].splitlines()
    of_process = f'device="0",uuid="GPU-{UUID}0",process="{result["pid"]}"'
    for name, value in (("pytorch_reserved", 100 * MIB), ("memory_used", 110 * MIB), ("outside_pytorch", 10 * MIB)):
        (line,) = [line for line in lines if line.startswith(f"gpumemprof_process_{name}_bytes{{{of_process}")]
        assert line.endswith(f" {value}")


def test_top_without_nvml_says_so(device):
    done = device.run("-m", "gpumemprof", "top", simulated=("--nvml-fault", "no-driver"), code=1)
    assert done.stderr.count("\n") == 1 and "driver is not loaded" in done.stderr
