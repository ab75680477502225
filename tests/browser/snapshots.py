"""Small snapshots in PyTorch's own form, made by hand so that every number is known."""

import pickle

MIB = 1 << 20
BASE = 0x7F0000000000

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"


def dump(snapshot: object) -> bytes:
    return pickle.dumps(snapshot, protocol=4)


def frame(name: str, filename: str, line: int) -> dict:
    return {"name": name, "filename": filename, "line": line}


def stack(function: str, line: int) -> list[dict]:
    """A stack, innermost first, as PyTorch writes it."""
    return [
        frame("linear", "/opt/venv/lib/python3.12/site-packages/torch/nn/functional.py", 125),
        frame(function, "/home/alice/project/model.py", line),
        frame("train", "/home/alice/project/train.py", 12),
        frame("<module>", "/home/alice/project/train.py", 40),
    ]


def training(layers: int = 12, name: str | None = None) -> dict:
    """Two passes over some layers: every layer allocates, all are freed, then one request fails.

    Block n of a pass has n + 1 MiB. The peak is after the last allocation of the second pass,
    which also keeps one block of 64 MiB.
    """
    events: list[dict] = []
    blocks: list[dict] = []
    time_us = 1_700_000_000_000_000

    def event(action: str, address: int, size: int, frames: list[dict]) -> None:
        nonlocal time_us
        time_us += 250
        events.append(
            {"action": action, "addr": address, "size": size, "stream": 0, "time_us": time_us, "frames": frames}
        )

    total = 256 * MIB
    event("segment_alloc", BASE, total, [])
    offset = BASE
    for step in range(2):
        if step == 1:
            event("alloc", offset, 64 * MIB, stack("keep_everything", 99))
            blocks.append(
                {
                    "address": offset,
                    "size": 64 * MIB,
                    "requested_size": 64 * MIB,
                    "state": "active_allocated",
                    "frames": stack("keep_everything", 99),
                }
            )
            offset += 64 * MIB
        start = offset
        live = []
        for layer in range(layers):
            size = (layer + 1) * MIB
            frames = stack(name or f"layer_{layer}", 20 + layer)
            event("alloc", start, size, frames)
            live.append((start, size, frames))
            start += size
        if step == 1:
            event("oom", 8 * MIB, 400 * MIB, stack("too_much", 77))
        for address, size, frames in reversed(live):
            event("free_requested", address, size, frames)
            event("free_completed", address, size, frames)
    blocks.append(
        {"address": offset, "size": total - (offset - BASE), "requested_size": 0, "state": "inactive", "frames": []}
    )
    # The first pass starts where the 64 MiB block of the second one is.
    segment = {
        "device": 0,
        "address": BASE,
        "total_size": total,
        "stream": 0,
        "segment_type": "large",
        "segment_pool_id": (0, 0),
        "is_expandable": False,
        "allocated_size": 64 * MIB,
        "active_size": 64 * MIB,
        "requested_size": 64 * MIB,
        "blocks": blocks,
        "frames": [],
    }
    settings = {
        "PYTORCH_CUDA_ALLOC_CONF": "",
        "max_split_size": -1,
        "garbage_collection_threshold": 0.0,
        "expandable_segments": False,
    }
    return {
        "segments": [segment],
        "device_traces": [events],
        "allocator_settings": settings,
        "external_annotations": [],
    }


def empty() -> dict:
    return {"segments": [], "device_traces": [[]]}


def two_devices() -> dict:
    first, second = training(6), training(4)
    for segment in second["segments"]:
        segment["device"] = 1
    return {
        **first,
        "segments": first["segments"] + second["segments"],
        "device_traces": first["device_traces"] + second["device_traces"],
    }
