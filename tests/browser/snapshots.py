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


def stranding() -> dict:
    """A recording exactly as PyTorch's allocator makes it, so that it can be simulated.

    Four blocks of 9 MiB lie in two segments of 20 MiB; the second and the third are freed, and
    18 MiB are asked for on a device of 40 MiB. With expandable segments the two gaps are one:

        │ 9 │ free 9 + 2 │    │ free 9 │ 9 │ 2 │        │ 9 │ free 18 │ 9 │ 4 │
    """
    events: list[dict] = []
    size = 9 * MIB
    whole = 20 * MIB
    time_us = 1_700_000_000_000_000

    def event(action: str, address: int, size: int, frames: list[dict]) -> None:
        nonlocal time_us
        time_us += 250
        events.append(
            {"action": action, "addr": address, "size": size, "stream": 0, "time_us": time_us, "frames": frames}
        )

    def block(address: int, size: int, frames: list[dict] | None = None) -> dict:
        state = "active_allocated" if frames else "inactive"
        requested = size if frames else 0
        return {"address": address, "size": size, "requested_size": requested, "state": state, "frames": frames or []}

    first, second = BASE, BASE + 32 * MIB
    places = [first, first + size, second, second + size]
    stacks = [stack(f"layer_{number}", 20 + number) for number in range(4)]
    for number, place in enumerate(places):
        if number % 2 == 0:
            event("segment_alloc", place, whole, stacks[number])
        event("alloc", place, size, stacks[number])
    for place in places[1:3]:
        event("free_requested", place, size, [])
        event("free_completed", place, size, [])
    event("oom", 0, 18 * MIB, stack("too_much", 77))
    blocks = {
        first: [block(first, size, stacks[0]), block(first + size, whole - size)],
        second: [
            block(second, size),
            block(second + size, size, stacks[3]),
            block(second + 2 * size, whole - 2 * size),
        ],
    }
    return {
        "segments": [
            {
                "device": 0,
                "address": address,
                "total_size": whole,
                "stream": 0,
                "segment_type": "large",
                "segment_pool_id": (0, 0),
                "is_expandable": False,
                "allocated_size": size,
                "active_size": size,
                "requested_size": size,
                "blocks": held,
                "frames": [],
            }
            for address, held in blocks.items()
        ],
        "device_traces": [events],
        "allocator_settings": {
            "PYTORCH_CUDA_ALLOC_CONF": "",
            "max_split_size": -1,
            "garbage_collection_threshold": 0.0,
            "expandable_segments": False,
        },
        "external_annotations": [],
    }


def sidecar(snapshot: dict, module: str = "blocks.3.attn") -> dict:
    """What a recorder tells of the failure in ``training()``."""
    events = snapshot["device_traces"][0]
    (failed,) = [event for event in events if event["action"] == "oom"]

    def batch(step: int, length: int, allocated: int) -> dict:
        passes = [{"module": "GPT", "inputs": [f"(8, {length})int64"]}]
        return {"step": step, "micro_batch": 0, "passes": passes, "allocated_bytes": {"0": allocated}}

    return {
        "schema": "gpumemprof.sidecar/1",
        "run": {
            "gpumemprof": "0.9.0",
            "torch": "2.15.0+cu132",
            "cuda": "13.2",
            "hip": None,
            "python": "3.12.4",
            "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
            "host": "trainer-node-17",
            "process": 4711,
            "argv": ["/home/alice/project/train.py", "--lr=0.1", "--token=hunter2"],
            "environment": {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:128", "WORLD_SIZE": "8"},
            "devices": [{"device": 0, "name": "NVIDIA H100 80GB HBM3", "total_bytes": 85_520_809_984}],
        },
        "rank": 3,
        "step": 7,
        "current": {"module": module, "phase": "forward", "step": 7},
        "batches": [batch(6, 512, 64 * MIB), batch(7, 4096, 65 * MIB)],
        "oom": {
            "device": 0,
            "driver_request_bytes": 400 * MIB,
            "device_free_bytes": failed["addr"],
            "time_us": failed["time_us"],
            "python_stack": ["/home/alice/project/model.py:77 too_much", "/home/alice/project/train.py:12 train"],
            "current": {"module": module, "phase": "forward", "step": 7},
            "inputs": {"is_training": True, "passes": [{"module": "GPT", "inputs": ["(8, 4096)int64"]}]},
            "outcome": "recovered",
            "count": 2,
        },
        "ends": [{"device": 0, "events": len(events), "time_us": events[-1]["time_us"]}],
    }
