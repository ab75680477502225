"""Steps, profiles and sidecars, end to end."""

from __future__ import annotations

import json

import gpumemprof
from conftest import PROGRAMS


def test_steps_profiles_and_sidecars_are_as_they_are_told(device):
    done = device.run(str(PROGRAMS / "steps.py"), "--token=abc")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["two optimizers"] == 5
    within = result["within"]
    # The first of the three begins where the last of the GAN ended.
    assert within["steps"] == 3
    assert within["after"].get("phase") != "optimizer"
    snapshot = gpumemprof.read(device.tmp / result["snapshots"][0])
    sidecar = json.loads((device.tmp / result["snapshots"][0]).with_suffix(".gpumemprof.json").read_text())
    if "spans" not in sidecar:
        assert within["after"] == within["before"] and within["before"]["phase"] == "backward"
    assert '"phase":"backward"' not in result["label at the end"]
    # The profile within the recording.
    assert (result["explicit"], result["explicit after"]) == (True, False)
    assert result["folder"].startswith("own/") and len(result["snapshots"]) == 1
    assert result["snapshots"][0].startswith("own/") and result["again"] == result["snapshots"][0]
    assert result["other"].startswith("runs/")
    ours = [line for line in done.stderr.splitlines() if line.startswith("gpumemprof: ")]
    assert len([line for line in ours if line.endswith("no effect: max_entries")]) == 1
    # What is kept of the past.
    assert result["roots"] < 10
    assert [one["inputs"] for one in result["passes"]][-2:] == [["(2, 64)float32"], ["(2, 64)float32"] * 2]
    assert "MSELoss" not in json.dumps(result["passes"][0])
    assert result["argv"][1:] == ["--token=***", "--api-key", "***"]
    assert result["end"] == [0, True, True]
    walks, sets, has_rows = result["walks"]
    assert walks >= sets > 0 and not has_rows
    # The folder that is a file.
    assert not result["is on"]
    assert len([line for line in ours if "no snapshot of the steps until 2: " in line]) == 1
    assert len([line for line in ours if "no snapshot at the end of the profile: " in line]) == 1
    assert not snapshot.warnings and snapshot.peak("category").requested_bytes > 0
