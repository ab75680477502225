"""An out-of-memory error in words: from its snapshot, from what was seen when it happened, from its message."""

from __future__ import annotations

from typing import Any, Optional

from ._snapshot import Snapshot
from ._snapshot import size_text as _size


def summary(snapshot: Snapshot, sidecar: dict[str, Any], device: int, total: Optional[int]) -> list[str]:
    """At most nine lines on an out-of-memory error; the report's place is the tenth."""
    lines: list[str] = []
    ooms = [oom for oom in snapshot.ooms(device_total=total) if oom["device"] == device]
    if ooms:
        oom = ooms[-1]
        evidence = oom["evidence"]
        lines.append(
            f"out of memory on device {device}: asked for {_size(evidence['requested_bytes'])}, "
            f"driver had {_size(evidence['device_free_bytes'])} free; {oom['title']}"
        )
    else:
        lines.append(
            f"out of memory on device {device}: {_size(sidecar['oom']['driver_request_bytes'])} asked of the driver"
        )
        lines.append("the failed request is not in the history (recording was off, or has been on only since)")
    lines += where(sidecar["oom"])
    grown = _growth(sidecar, device)
    if grown:
        lines.append(grown)
    at = "oom" if ooms else "end"
    layers = snapshot.peak("layer", at=at, device=device)
    most = [f"{group.name} {_size(group.requested_bytes)}" for group in layers.groups[:10]]
    if most:
        lines.append("layers that hold the most: " + ", ".join(most))
    categories = snapshot.peak("category", at=at, device=device)
    parts = [f"{group.name} {_size(group.requested_bytes)}" for group in categories.groups[:6]]
    if parts:
        lines.append("by category: " + ", ".join(parts))
    outside = surroundings(sidecar, device)[:2]
    if outside:
        lines.append("; ".join(outside))
    lines += [
        f"attention: {warning}" for warning in snapshot.warnings if "sidecar" in warning or "gpumemprof.json" in warning
    ]
    if ooms and ooms[-1]["advice"]:
        best = ooms[-1]["advice"][0]
        setting = f" (export {best['setting']})" if best.get("setting") else ""
        lines.append(f"advice: {best['title']}{setting}")
    lines = lines[:8]
    lines.append(f"snapshot: {snapshot.path}")
    return lines


def _is_library(frame: str) -> bool:
    return "site-packages" in frame or "dist-packages" in frame or frame.startswith("<")


def where(oom: dict[str, Any]) -> list[str]:
    """Which line asked, and what ran: as far as it was told when the error happened."""
    lines = []
    stack = oom.get("python_stack") or []
    own = next((frame for frame in stack if not _is_library(frame)), None)
    if stack:
        lines.append(f"by {stack[0]}" + (f", called from {own}" if own and own != stack[0] else ""))
    current = oom.get("current") or {}
    known = [f"{key} {current[key]}" for key in ("module", "phase", "step", "micro_batch") if key in current]
    inputs = oom.get("inputs")
    if inputs is not None:
        known.append(f"inputs {_inputs(inputs['passes'])}")
    if known:
        lines.append("in " + ", ".join(known))
    return lines


def _inputs(passes: list[dict[str, Any]]) -> str:
    """What went into the outermost modules; their names only where there are several."""
    return "; ".join(
        (f"{one['module']} " if len(passes) > 1 and one["module"] else "") + (" ".join(one["inputs"]) or "not told")
        for one in passes
    )


def _growth(sidecar: dict[str, Any], device: int) -> Optional[str]:
    """What this step began with that the last one before it did not."""
    inputs = sidecar["oom"].get("inputs")
    begun = sidecar.get("batches") or []
    if inputs is None or not inputs["is_training"] or not begun:
        return None
    now = begun[-1]
    earlier = [one for one in begun if one["step"] < now["step"] and one["micro_batch"] == now["micro_batch"]]
    if not earlier:
        return None
    before = earlier[-1]
    changes = []
    were = []
    for one in inputs["passes"]:
        # Of modules that share a name, or run several times, only what is common to all is known.
        fed = [other["inputs"] for other in before["passes"] if other["module"] == one["module"] is not None]
        if fed and fed[0] != one["inputs"] and all(other == fed[0] for other in fed):
            were.append({"module": one["module"], "inputs": fed[0]})
    if were:
        changes.append(f"inputs were {_inputs(were)}")
    held, holds = before["allocated_bytes"].get(str(device)), now["allocated_bytes"].get(str(device))
    if held is not None and holds is not None and held != holds:
        changes.append(f"{_size(holds)} allocated at its start, {_size(held)} at the one before")
    return f"since step {before['step']}: " + "; ".join(changes) if changes else None


def of_message(message: dict[str, Any]) -> list[str]:
    """What an error's message alone says."""
    of = "" if message["device"] is None else f" on device {message['device']}"
    lines = [f"{message['backend']} out of memory{of}: {message['title']}"]
    figures = (
        ("requested", "asked for"),
        ("total", "the device has"),
        ("free", "free"),
        ("allocated", "allocated by PyTorch"),
        ("reserved_unallocated", "reserved by PyTorch and not allocated"),
        ("reserved", "reserved by PyTorch"),
    )
    parts = [f"{words} {_size(message[name]['bytes'])}" for name, words in figures if message.get(name)]
    if parts:
        lines.append("by its message, rounded: " + ", ".join(parts))
    return lines


def device_total(sidecar: dict[str, Any], device: int, observed: int) -> Optional[int]:
    """The device's whole memory. What the observer says may be the memory fraction's limit."""
    for entry in sidecar["run"]["devices"]:
        if entry["device"] == device:
            return int(entry["total_bytes"])
    return observed or None


def surroundings(sidecar: dict[str, Any], device: Optional[int] = None) -> list[str]:
    """What lies outside PyTorch, as sentences."""
    lines = []
    for entry in sidecar.get("outside_pytorch", []):
        if device is not None and entry["device"] != device:
            continue
        if entry["process_outside_bytes"] is not None:
            lines.append(
                f"outside PyTorch, in this process: {_size(entry['process_outside_bytes'])} (context, libraries, NCCL)"
            )
        others = [one for one in entry["others"] or [] if one["used_bytes"]]
        if others:
            named = ", ".join(
                f"process {one['process']}{' (' + one['name'] + ')' if one.get('name') else ''} {_size(one['used_bytes'])}"
                for one in others[:4]
            )
            lines.append(f"other processes on the device: {named}")
    return lines
