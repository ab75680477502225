"""Known models, on the simulated device: every byte of the peak has a category and a layer."""

from __future__ import annotations

import gpumemprof
import pytest
from conftest import PROGRAMS


@pytest.mark.parametrize("model", ["resnet50", "vit", "bert"])
def test_every_byte_of_the_peak_is_told(device, model):
    result = device.result(str(PROGRAMS / "zoo.py"), model)
    if result is None:
        pytest.skip(f"this PyTorch's environment has no torchvision or transformers for {model}")
    snapshot = gpumemprof.read(device.tmp / result["path"])
    categories = snapshot.peak("category")
    assert categories.requested_bytes == result["peak"]
    assert categories.unknown_bytes == 0
    table = snapshot.allocations(live_at="peak")
    for layer, evidence, category, phase in zip(
        table["layer"], table["layer_evidence"], table["category"], table["phase"]
    ):
        if category != "input" and phase != "optimizer":
            assert layer and evidence == "recorded", (layer, evidence, category, phase)
