"""Reading snapshots needs neither PyTorch nor a device."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import gpumemprof
import pytest
from conftest import PACKAGE, shared


def small() -> dict:
    def event(action, addr, size, time):
        frames = [{"filename": "train.py", "line": 3, "name": "step"}]
        return {"action": action, "addr": addr, "size": size, "stream": 0, "time_us": time, "frames": frames}

    base = 0x7F0000000000
    blocks = [
        {"address": base, "size": 1024, "requested_size": 1000, "state": "active_allocated", "frames": []},
        {"address": base + 1024, "size": (2 << 20) - 1024, "requested_size": 0, "state": "inactive", "frames": []},
    ]
    segment = {
        "device": 0,
        "address": base,
        "total_size": 2 << 20,
        "stream": 0,
        "segment_type": "small",
        "blocks": blocks,
    }
    trace = [
        event("segment_alloc", base, 2 << 20, 1),
        event("alloc", base, 1000, 2),
        event("alloc", base + 1024, 5000, 3),
        event("free_requested", base + 1024, 5000, 4),
        event("free_completed", base + 1024, 5000, 5),
    ]
    return {"segments": [segment], "device_traces": [trace], "allocator_settings": {}, "external_annotations": []}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "small.pickle"
    path.write_bytes(pickle.dumps(small(), protocol=4))
    return path


def test_a_snapshot_answers(path):
    snapshot = gpumemprof.read(path)
    (device,) = snapshot.stats()["devices"]
    assert device["requested_peak_bytes"] == 6000 and device["requested_final_bytes"] == 1000
    peak = snapshot.peak("line")
    assert peak.requested_bytes == 6000 and peak.allocations == 2
    assert sum(group.requested_bytes for group in peak) == 6000
    assert "train.py" in peak[0].name and peak[peak[0].name] == peak[0]
    assert "6000" not in repr(snapshot) and "5.86 KiB" in str(peak)
    assert snapshot.allocations(live_at="end")["requested_bytes"] == [1000]
    assert snapshot.ooms() == []
    page = snapshot.report()
    assert page.read_text().lstrip().lower().startswith("<!doctype html")


def test_pandas_gets_columns(path):
    pandas = pytest.importorskip("pandas")
    frame = gpumemprof.read(path).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["requested_bytes"]) == [1000, 5000]
    assert frame["free_event"].isna().sum() == 1


def test_errors_are_of_one_tree(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        gpumemprof.read(tmp_path / "none.pickle")
    (tmp_path / "bad.pickle").write_bytes(b"hello")
    with pytest.raises(gpumemprof.ReadError):
        gpumemprof.read(tmp_path / "bad.pickle")
    with pytest.raises(gpumemprof.NotInSnapshotError, match="layer"):
        gpumemprof.read(path).peak("nothing")
    with pytest.raises(gpumemprof.NotInSnapshotError):
        gpumemprof.read(path).peak(device=5)
    assert issubclass(gpumemprof.ReadError, gpumemprof.Error)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(gpumemprof.ReadError):
        gpumemprof.read(tmp_path / "evil.pickle")
    assert not (tmp_path / "made").exists()


def test_importing_does_not_import_torch():
    code = "import sys, gpumemprof; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(PACKAGE)})


def test_without_torch_recording_says_so():
    code = "import gpumemprof\ntry: gpumemprof.enable()\nexcept gpumemprof.RecordingError as e: print(e)"
    try:
        import torch  # noqa: F401
    except ImportError:
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True
        )
        assert "PyTorch is not installed" in done.stdout
    else:
        pytest.skip("this interpreter has PyTorch")


def test_the_command_is_the_same(path):
    done = subprocess.run(
        [sys.executable, "-m", "gpumemprof", "stats", "--json", str(path)],
        env={"PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and '"requested_peak_bytes": 6000' in done.stdout
    assert (
        subprocess.run(
            [sys.executable, "-m", "gpumemprof", "nonsense"], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True
        ).returncode
        == 2
    )


def test_a_log_gives_its_verdict(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(
        "step 1\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 1; 10.00 GiB total capacity; "
        "4.00 GiB already allocated; 1.00 GiB free; 8.50 GiB reserved in total by PyTorch)\n"
    )
    (message,) = gpumemprof.oom_messages(log.read_text())
    assert (message["device"], message["class"], message["line"]) == (1, "fragmentation", 2)
    done = subprocess.run(
        [sys.executable, "-m", "gpumemprof", "oom", str(log)],
        env={"PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "fragmentation" in done.stdout


def test_a_run_packs_into_one_file_and_out_again(path, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "oom-1.pickle").write_bytes(path.read_bytes())
    sidecar = {
        "schema": "gpumemprof.sidecar/1",
        "rank": 3,
        "tensors": [
            {"device": 0, "address": 0x7F0000000000, "category": "parameter", "module": "head", "name": "head.weight"}
        ],
        "walks": [{"time_us": None, "tensors": [0]}],
    }
    (folder / "oom-1.gpumemprof.json").write_text(json.dumps(sidecar))
    packed = gpumemprof.pack(folder)
    assert (
        packed.name == "run.gpumem"
        and packed.read_bytes() == gpumemprof.pack(folder, tmp_path / "b.gpumem").read_bytes()
    )
    peak = gpumemprof.read(packed).peak("category", at="end").to_dict()
    assert peak == gpumemprof.read(folder / "oom-1.pickle").peak("category", at="end").to_dict() == {"parameter": 1000}
    assert gpumemprof.read(packed).has_sidecar and gpumemprof.read(folder / "oom-1.pickle").has_sidecar
    names = sorted(gpumemprof.unpack(packed, tmp_path / "again"))
    assert [name.name for name in names] == ["oom-1.gpumemprof.json", "oom-1.pickle"]
    assert names[1].read_bytes() == path.read_bytes()


def test_a_sidecar_of_another_snapshot_is_none(path):
    sidecar = {"schema": "gpumemprof.sidecar/1", "rank": 3, "ends": [{"device": 0, "events": 77, "time_us": 5}]}
    path.with_suffix(".gpumemprof.json").write_text(json.dumps(sidecar))
    snapshot = gpumemprof.read(path)
    assert not snapshot.has_sidecar and snapshot.warnings


def test_real_snapshots_have_their_allocators_peaks():
    folder = shared() / "simulated"
    seen = 0
    for line in (folder / "truth.jsonl").read_text().splitlines()[:12]:
        truth = json.loads(line)
        path = folder / truth["file"]
        if (
            not path.exists()
            or "ring" in truth["program"]
            or "late" in truth["program"]
            or path.stat().st_size > 30 << 20
        ):
            continue
        snapshot = gpumemprof.read(path)
        for device in snapshot.stats()["devices"]:
            assert device["requested_peak_bytes"] == truth["devices"][str(device["device"])]["requested_bytes.all.peak"]
            seen += 1
    assert seen > 3


def test_the_shapes_of_a_batch_are_told_in_whatever_it_comes():
    from collections import UserDict
    from dataclasses import dataclass

    from gpumemprof import _batches
    from gpumemprof._batches import MAX_SHAPES
    from gpumemprof._options import Options

    class Tensor:
        def __init__(self, *shape):
            self.shape = shape
            self.dtype = "torch.int64"

    @dataclass
    class Batch:
        ids: Tensor
        more: object

    def shapes(*arguments):
        return _batches.words(_batches.found(*arguments))

    loop: list = []
    loop.append(loop)
    ids, mask = Tensor(8, 512), Tensor(8, 1)
    assert shapes((ids,), {}, Tensor) == ["(8, 512)int64"]
    assert shapes((), {"input_ids": ids, "labels": None}, Tensor) == ["input_ids (8, 512)int64"]
    assert shapes((UserDict({"a": ids, "b": [mask]}),), {}, Tensor) == ["a (8, 512)int64", "b (8, 1)int64"]
    assert shapes((Batch(ids, {"mask": mask}),), {}, Tensor) == ["ids (8, 512)int64", "more.mask (8, 1)int64"]
    assert shapes((loop, object(), 3), {"x": loop}, Tensor) == []
    assert len(shapes(([ids] * 40,), {}, Tensor)) == MAX_SHAPES
    assert Options().skipped == [] and Options(skip_actions="lean").skipped == ["free_requested", "snapshot"]
    with pytest.raises(ValueError, match="lean"):
        Options(skip_actions="fewer")


def test_both_ways_to_record_take_the_same_options():
    import inspect
    from dataclasses import fields

    from gpumemprof._options import Options

    given = {field.name: field.default for field in fields(Options)}
    for function in (gpumemprof.enable, gpumemprof.profile):
        found = {name: one.default for name, one in inspect.signature(function).parameters.items()}
        assert {name: found[name] for name in given} == given
        assert set(found) - set(given) == {"model", "optimizer"}


def test_the_parts_of_reserved_memory_add_up():
    from gpumemprof._poll import blocks

    def segment(*parts):
        return {
            "total_size": sum(size for _, size in parts),
            "blocks": [{"state": state, "size": size} for state, size in parts],
        }

    found = blocks(
        [
            segment(("active_allocated", 10), ("inactive", 6), ("active_pending_free", 4)),
            segment(("inactive", 20)),
        ]
    )
    parts = ("allocated_bytes", "pending_bytes", "split_free_bytes", "whole_free_bytes")
    assert [found[name] for name in parts] == [10, 4, 6, 20]
    assert found["reserved_bytes"] == sum(found[name] for name in parts) and found["largest_free_bytes"] == 20
