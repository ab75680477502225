"""Holds memory in known steps while it is recorded, and says what is then seen of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request

import gpumemprof
import torch
from gpumemprof import _recorder

MIB = 1 << 20


def top() -> dict:
    done = subprocess.run([sys.executable, "-m", "gpumemprof", "top", "--json"], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr}


def main() -> None:
    if not gpumemprof.enable(
        os.path.abspath("runs"), sample_hz=50, report=False, prometheus=0 if "metrics" in sys.argv else None
    ):
        print(json.dumps({"on": False}))
        return
    held = []
    for _ in range(3):
        held.append(torch.empty(100 * MIB, dtype=torch.uint8, device="cuda"))
        time.sleep(0.8)  # The counters are read twice a second.
    del held[1:]
    torch.cuda.empty_cache()
    time.sleep(0.7)
    recorder = _recorder.current()
    out = {"on": True, "pid": recorder.process, "top": top() if "top" in sys.argv else None}
    if recorder.metrics is not None:
        with urllib.request.urlopen(f"http://{recorder.metrics.address}/metrics", timeout=20) as answer:
            out["metrics"] = answer.read().decode()
    path = gpumemprof.dump()
    sidecar = json.loads(path.with_suffix(".gpumemprof.json").read_text())
    out["outside"] = sidecar["outside_pytorch"]
    out["devices"] = sidecar["run"]["devices"]
    out["samples"] = {name: sidecar["samples"][name] for name in ("boards", "problem", "notes")}
    out["last"] = sidecar["samples"]["samples"][-1] if sidecar["samples"]["samples"] else None
    out["counters"] = sidecar["counters"]
    out["path"] = str(path)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
