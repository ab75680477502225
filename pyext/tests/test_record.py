"""Recording, end to end, on the simulated device."""

from __future__ import annotations

import json
from pathlib import Path

import gpumemprof
import pytest
from conftest import PROGRAMS


@pytest.mark.parametrize("form", ["plain", "checkpoint"])
def test_recording_changes_nothing(device, form):
    """The same allocations in the same order, the same stacks, the same peak, the same graph, with us and
    without."""
    program = str(PROGRAMS / "same.py")
    without = device.result(program, "plain", form)
    ours = device.result(program, "ours", form)
    assert without["counters"] == ours["counters"]
    assert without["graph"] == ours["graph"]
    assert without["gradients"] == ours["gradients"]
    assert without["events"] == ours["events"]
    # Only where a backward pass begins is there a frame of ours.
    expected, found = (
        [[frame for frame in stacks[of] if "gpumemprof" not in frame] for of in of_events]
        for stacks, of_events in (without["stacks"], ours["stacks"])
    )
    assert expected == found
    for stack in ours["stacks"][0]:
        assert not any("gpumemprof" in frame for frame in stack) or "backward" in " ".join(stack), stack


@pytest.mark.parametrize("form", ["plain", "checkpoint", "accumulate"])
def test_every_byte_of_the_peak_is_told(device, form):
    result = device.result(str(PROGRAMS / "profiled.py"), form)
    path = device.tmp / result["path"]
    snapshot = gpumemprof.read(path)
    assert snapshot.has_sidecar and not snapshot.warnings
    counters = result["counters"]
    categories = snapshot.peak("category")
    assert categories.requested_bytes == counters["requested_bytes_peak"]
    assert sum(group.requested_bytes for group in categories) == categories.requested_bytes
    assert categories.unknown_bytes == 0
    table = snapshot.allocations(live_at="peak")
    for layer, category, evidence, size in zip(
        table["layer"], table["category"], table["layer_evidence"], table["requested_bytes"]
    ):
        if category != "input":
            assert layer and evidence == "recorded", (layer, category, evidence, size)
    layers = snapshot.peak("layer").to_dict()
    assert "blocks.1.attn" in layers and "(loss)" in layers
    steps = set(snapshot.peak("step").to_dict())
    assert steps & {"step 1", "step 2"}


def test_parameters_have_their_names_and_sizes(device):
    result = device.result(str(PROGRAMS / "profiled.py"), "plain")
    sidecar = json.loads(Path(str(device.tmp / result["path"]).replace(".pickle", ".gpumemprof.json")).read_text())
    by_category = {}
    for tensor in sidecar["tensors"]:
        by_category.setdefault(tensor["category"], set()).add(tensor["name"])
    names = by_category["parameter"]
    assert "blocks.2.mlp.0.weight" in names and len(names) == 4 + 1 + 3 * 12
    assert by_category["gradient"] == names
    assert "blocks.0.ln1.weight.exp_avg" in by_category["optimizer_state"]
    assert {tensor["module"] for tensor in sidecar["tensors"] if tensor["name"] == "blocks.2.mlp.0.weight"} == {
        "blocks.2.mlp.0"
    }
