"""Wrappers, compiled regions, graphs, streams and threads: every figure is the allocator's own."""

from __future__ import annotations

import json

import gpumemprof
import pytest
from conftest import PROGRAMS

PROGRAM = str(PROGRAMS / "regions.py")


def table_of(device, result, **at):
    snapshot = gpumemprof.read(device.tmp / result["path"])
    categories = snapshot.peak("category")
    assert categories.requested_bytes == result["counters"]["requested_bytes_peak"]
    assert sum(group.requested_bytes for group in categories) == categories.requested_bytes
    assert categories.unknown_bytes == 0
    (of,) = snapshot.stats()["devices"]
    assert of["reserved_peak_bytes"] == result["counters"]["reserved_bytes_peak"]
    return snapshot.allocations(**(at or {"live_at": "peak"}))


def layers(table, phase=None):
    return {
        layer
        for layer, evidence, of in zip(table["layer"], table["layer_evidence"], table["phase"])
        if evidence == "recorded" and phase in (None, of)
    }


def has_labels(device, text: bytes) -> bool:
    """Whether some event's own label has ``text``; false where labels are joined by time."""
    (path,) = (device.tmp / "runs").glob("*/snapshot.pickle")
    return text in path.read_bytes() or text in path.with_suffix(".gpumemprof.json").read_bytes().replace(b"\\", b"")


def test_a_compiled_region_is_the_module_that_was_compiled_and_says_so(device):
    table = table_of(device, device.result(PROGRAM, "compile"))
    found = layers(table)
    assert {"blocks.0", "blocks.1.attn", "blocks.2.attn"} <= found
    assert not any("GraphModule" in layer for layer in found)
    assert has_labels(device, b'"wrapper":"OptimizedModule"')
    assert "GPT" in found and "OptimizedModule" not in found


@pytest.mark.parametrize("form", ["graph", "streams"])
def test_graphs_and_streams_are_told_as_everything_else(device, form):
    table = table_of(device, device.result(PROGRAM, form))
    assert {"blocks.0.attn", "head", "(loss)"} <= layers(table)


def test_expandable_segments_make_no_difference(device):
    result = device.result(PROGRAM, "plain", PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    assert result["is_expandable"]
    assert {"blocks.0.attn", "head"} <= layers(table_of(device, result))


def test_a_shared_module_has_one_name_and_says_the_other(device):
    table = table_of(device, device.result(PROGRAM, "shared"))
    assert "1.first" in layers(table) and "1.second" not in layers(table)
    assert has_labels(device, b'"shared":["1.second"]')


def test_what_reentrant_checkpointing_computes_again_is_told(device):
    table = table_of(device, device.result(PROGRAM, "reentrant"))
    assert {"blocks.0.0", "blocks.0.1", "blocks.2.2"} <= layers(table)
    assert has_labels(device, b'"recompute":true')
    again = {
        layer
        for layer, category, phase in zip(table["layer"], table["category"], table["phase"])
        if phase == "backward" and category == "activation"
    }
    assert again <= {f"blocks.{block}.{part}" for block in range(3) for part in range(3)}


def test_what_is_called_by_keyword_is_followed(device):
    result = device.result(PROGRAM, "keywords")
    snapshot = gpumemprof.read(device.tmp / result["path"])
    table = snapshot.allocations()
    # `exp` belongs to the outer module: its backward must not be told as the inner one's.
    assert {"Keywords", "inner"} <= layers(table, "backward")
    sidecar = json.loads((device.tmp / result["path"]).with_suffix(".gpumemprof.json").read_text())
    assert sidecar["batches"][-1]["inputs"] == ["batch.x (1000, 1000)float32", "scale ()float32"]


def test_threads_are_never_told_as_each_other(device):
    result = device.result(PROGRAM, "threads")
    table_of(device, result)
    table = gpumemprof.read(device.tmp / result["path"]).allocations()
    sidecar = json.loads((device.tmp / result["path"]).with_suffix(".gpumemprof.json").read_text())
    helpers = 0
    for layer, evidence, stack in zip(table["layer"], table["layer_evidence"], table["stack"]):
        if evidence != "recorded" or not layer:
            continue
        is_helpers = any(frame.startswith("work (") for frame in stack)
        if "spans" in sidecar and is_helpers and not any("_call_impl" in frame for frame in stack):
            # Joined by time, a thread that is in no module is taken for the one that is: no event of
            # such a PyTorch says which thread it is of.
            continue
        helpers += is_helpers
        assert layer.startswith("Sequential") == is_helpers, (layer, stack)
    assert helpers >= 60 or "spans" in sidecar


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp1", "fsdp2"])
def test_four_ranks(device, wrapper):
    torchrun = device.python.rpartition("/")[0] + "/torchrun"
    try:
        device.run(torchrun, "--nproc-per-node", "4", PROGRAM, wrapper)
    except AssertionError as problem:
        if "not supported by the simulated device" in str(problem):
            pytest.skip(f"this PyTorch's {wrapper} needs NCCL, which the simulated device does not have")
        raise
    found = [json.loads((device.tmp / f"result-{rank}.json").read_text()) for rank in range(4)]
    assert len({result["path"] for result in found}) == 4
    for result in found:
        table = table_of(device, result)
        assert {"blocks.0.attn", "head"} <= layers(table)
        assert not any(layer.startswith(("module", "_fsdp")) for layer in layers(table))
