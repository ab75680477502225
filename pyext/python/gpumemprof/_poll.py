"""The memory now, cheaply: counters and the map of blocks, without the history."""

from __future__ import annotations

from typing import Any

from . import _torch
from ._context import devices


def poll(found: _torch.Support) -> list[dict[str, Any]]:
    """One entry per device. Sizes in bytes; None for what this PyTorch does not tell cheaply."""
    out = devices(found.torch)
    segments = _torch.block_map(found)
    for entry in out:
        mine = None if segments is None else [one for one in segments if one["device"] == entry["device"]]
        entry["blocks"] = None if mine is None else blocks(mine)
    return out


def blocks(segments: list[dict[str, Any]]) -> dict[str, int]:
    """Where the reserved bytes of ``segments`` are: the parts add up to it."""
    out = dict.fromkeys(
        ("segments", "reserved_bytes", "allocated_bytes", "pending_bytes", "split_free_bytes", "whole_free_bytes"), 0
    )
    largest = 0
    for segment in segments:
        out["segments"] += 1
        out["reserved_bytes"] += segment["total_size"]
        is_whole = all(block["state"] == "inactive" for block in segment["blocks"])
        for block in segment["blocks"]:
            size = block["size"]
            if block["state"] == "active_allocated":
                out["allocated_bytes"] += size
            elif block["state"] == "inactive":
                out["whole_free_bytes" if is_whole else "split_free_bytes"] += size
                largest = max(largest, size)
            else:
                out["pending_bytes"] += size
    out["largest_free_bytes"] = largest
    return out
