"""Unmodified PyTorch on the simulated device, in every way the project relies on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import HERE, ROOT, launch, python_of, simgpu

MIB = 1 << 20
GIB = 1 << 30
SNAPSHOT_NAMES = {"2.15": "15", "2.6": "26"}
SHARED = Path(os.environ.get("GPUMEMPROF_SHARED", ROOT.parent / "shared")) / "snapshots" / "simulated"


def check_consistent(counters: dict) -> None:
    """Three accounts of the same memory: the allocator's counters, its snapshot, and the device."""
    assert counters["reserved"] == counters["segments"] == counters["device_used"]
    assert counters["allocated"] == counters["blocks"] <= counters["peak"]


def test_training_a_gpt(version):
    result = launch(version, "train_gpt")
    check_consistent(result)
    # AdamW leaves the parameters and two moments of each behind, four bytes an element.
    assert result["allocated"] >= 3 * 4 * result["parameters"]
    assert result["device_total"] == 81_559 * MIB


def test_training_public_models(version):
    result = launch(version, "train_models")
    assert result["cudnn"]
    for model in ("resnet50", "vit_b_16", "bert"):
        assert result[model] > 10 * MIB


def test_cudnn_and_attention(version):
    result = launch(version, "cudnn")
    assert result["convolution"].endswith("ConvBackend.Cudnn")
    # The convolution without cuDNN unfolds its input first.
    assert result["temporary_with"] == 0 < result["temporary_without"]
    assert result["gradient"] == [32, 16, 3, 3]
    assert result["FLASH_ATTENTION"] == "ScaledDotProductFlashAttentionBackward0"
    assert result["EFFICIENT_ATTENTION"] == "ScaledDotProductEfficientAttentionBackward0"
    assert result["CUDNN_ATTENTION"] == "ScaledDotProductCudnnAttentionBackward0"
    assert result["None"] in (result["FLASH_ATTENTION"], result["CUDNN_ATTENTION"])
    assert "ScaledDotProduct" not in result["MATH"]


def test_out_of_memory_is_the_real_one(version):
    result = launch(version, "out_of_memory", capacity="1000MiB", others="4242=64MiB")
    message = result["message"]
    assert message.startswith("CUDA out of memory. Tried to allocate 900.00 MiB.")
    assert "total capacity of 1000.00 MiB of which 536.00 MiB is free" in message
    assert "Process 4242 has 64.00 MiB memory in use" in message
    assert result["observer"] == [[0, 900 * MIB, 1000 * MIB, 536 * MIB]]
    assert result["after"]["ooms"] == result["at_end"]["ooms"] == 1
    assert result["after"]["reserved"] == 400 * MIB
    assert result["at_end"]["reserved"] == 900 * MIB


def test_context_counts_against_the_capacity(version):
    settings = {"capacity": "1000MiB", "context": "300MiB"}
    assert "300.00 MiB memory in use" in launch(version, "take", "800", **settings)["message"]
    assert launch(version, "take", "700", **settings)["message"] is None


def test_allocator_settings(version):
    plain = launch(version, "settings")
    check_consistent(plain)
    assert plain["expandable"] == 0 and plain["max_split_size"] in (
        -1,
        2**63 - 1,
        2**64 - 1,
    )
    expandable = launch(version, "settings", alloc_conf="expandable_segments:True")
    assert expandable["expandable"] > 0
    assert expandable["requested_peak"] == plain["requested_peak"]
    assert expandable["reserved"] == expandable["segments"] == expandable["device_used"]
    split = launch(version, "settings", alloc_conf="max_split_size_mb:32")
    check_consistent(split)
    assert split["max_split_size"] == 32 * MIB
    rounded = launch(version, "settings", alloc_conf="roundup_power2_divisions:2")
    check_consistent(rounded)
    assert rounded["peak"] > plain["peak"]


def test_expandable_segments_run_out(version):
    result = launch(version, "take", "1100", capacity="1GiB", alloc_conf="expandable_segments:True")
    assert "Tried to allocate 1.07 GiB" in result["message"]


def test_graphs_have_private_pools(version):
    result = launch(version, "graph")
    assert result["status"] == [False, True, True, False]
    assert [0, 0] in result["pools"] and len(result["pools"]) == 2
    check_consistent(result)


def test_two_devices(version, tmp_path):
    result = launch(version, "two_devices", devices=2, capacity="10GiB", state=tmp_path / "state")
    assert result["count"] == 2 and result["peer"] and result["copied"] == "cuda:1"
    first, second = result["pointers"]
    assert second - first >= 10 * GIB
    for device, (counters, nvml) in enumerate(zip(result["used"], result["nvml"])):
        check_consistent(counters)
        assert nvml["used"] == counters["reserved"] > 0, device
    assert result["used"][0]["reserved"] != result["used"][1]["reserved"]


def test_frees_wait_for_other_streams(version):
    # The allocator looks at its events at the next allocation, not at the free itself.
    for pending in (0, 2):
        seen = launch(version, "pending_free", pending=pending)["states"]
        waiting = 1 + pending
        assert seen == ["active_pending_free"] * waiting + ["inactive"] * (5 - waiting)


def test_host_memory(version):
    result = launch(version, "host")
    assert result["pinned"] == [True, False]
    assert result["kept"] == sum(range(1000))
    # A copy from the host is known until a kernel runs, and zeros after that.
    assert result["back"] == [sum(range(1000)), sum(range(10, 1000)), 0]


def test_data_parallel_training(version, tmp_path):
    env = simgpu.environment(devices=2, context="100MiB", state=tmp_path / "state")
    env["OMP_NUM_THREADS"] = "1"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [HERE / "programs.py", "distributed", tmp_path]
    command = [python_of(version), *torchrun, *program]
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for rank in ranks:
        assert rank["reserved"] == rank["segments"]
        own = rank["reserved"] + 100 * MIB
        assert [rank["pid"], own] in rank["nvml"]["processes"]
        # Parameters, gradients and two moments, four bytes an element. The peak itself varies by a
        # small block: gloo's threads decide when a reduced bucket's temporaries go.
        assert rank["peak"] > 4 * 4 * (4 * 256 * 257)


def test_nvml_and_the_runtime_agree(version, tmp_path):
    settings = {
        "capacity": "20GiB",
        "context": "500MiB",
        "reserved": "1GiB",
        "others": "77=2GiB",
    }
    result = launch(version, "agreement", model="rtx4090", state=tmp_path / "state", **settings)
    assert result["name"] == "NVIDIA GeForce RTX 4090"
    inside = result["inside"]
    assert inside == result["outside"]
    own = result["reserved"] + 500 * MIB
    assert inside["processes"] == sorted([[77, 2 * GIB], [result["pid"], own]])
    assert inside["used"] == own + 2 * GIB == result["device_used"]
    assert (inside["total"], inside["reserved"]) == (21 * GIB, GIB)
    assert inside["free"] == 20 * GIB - inside["used"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("no-driver", {"init": 9}),
        ("no-permission", {"memory_code": 0, "process_code": 4}),
        ("lost", {"memory_code": 15, "process_code": 15}),
        ("lost-after=1", {"memory_code": 0, "process_code": 15}),
    ],
)
def test_nvml_faults(fault, expected):
    env = simgpu.environment(nvml_fault=fault)
    command = [sys.executable, HERE / "programs.py", "nvml", "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert {key: result[key] for key in expected} == expected


def test_visible_devices(version, monkeypatch):
    every = launch(version, "visible", devices=3)
    assert every["count"] == 3 and len(set(every["uuids"])) == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert launch(version, "visible", devices=3)["uuids"] == [
        every["uuids"][2],
        every["uuids"][0],
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-{every['uuids'][1]}")
    assert launch(version, "visible", devices=3)["uuids"] == [every["uuids"][1]]


def test_processes_share_a_device(version, tmp_path):
    settings = {"capacity": "1GiB", "state": tmp_path / "state"}
    command = [python_of(version), HERE / "programs.py", "hold", "600"]
    env = simgpu.environment(**settings)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=env, text=True, **pipes) as holder:
        assert holder.stdout.readline() == "holding\n"
        refused = launch(version, "take", "600", **settings)["message"]
        assert f"Process {holder.pid} has 600.00 MiB memory in use" in refused
        # A process that is killed holds nothing.
        holder.kill()
    assert launch(version, "take", "600", **settings)["message"] is None


def test_addresses_repeat(version):
    assert launch(version, "addresses") == launch(version, "addresses")


def test_the_launcher():
    code = "import os, sys; print(os.path.exists(os.environ['SIMGPU_STATE'])); sys.exit(7)"
    command = [
        HERE.parent / "run.py",
        "--capacity",
        "1GiB",
        "--",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "True\n")


@pytest.mark.parametrize("program", ["base", "var"])
def test_peaks_are_those_of_the_first_prototype(version, program, tmp_path):
    """Another simulated device, written before this one, recorded these figures with the same programs."""
    if not SHARED.exists():
        pytest.skip(f"skipped: no {SHARED}")
    lines = (SHARED / "truth.jsonl").read_text().splitlines()
    wanted = f"sim{SNAPSHOT_NAMES[version]}-{program}.pickle"
    truth = next(entry for entry in map(json.loads, lines) if entry["file"] == wanted)
    env = simgpu.environment(capacity=f"{truth['device_mib']}MiB")
    command = [
        python_of(version),
        SHARED / "programs.py",
        program,
        tmp_path / "out.pickle",
    ]
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=300)
    line = next(line for line in done.stdout.splitlines() if line.startswith("TRUTH "))
    assert json.loads(line.removeprefix("TRUTH "))["devices"] == truth["devices"]
