"""What a sidecar says of the run: versions, devices, settings."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import sys
import time
from typing import Any

from . import _native
from ._native import __version__

ENVIRONMENT = (
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "HIP_VISIBLE_DEVICES",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "NCCL_BUFFSIZE",
    "NCCL_MAX_NCHANNELS",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_HIP_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "RANK",
    "SLURM_JOB_ID",
    "TORCH_NCCL_AVOID_RECORD_STREAMS",
    "WORLD_SIZE",
)
"""Variables that matter to memory. No other is written: an environment holds secrets."""

COUNTERS = ("allocated_bytes", "reserved_bytes", "active_bytes", "requested_bytes")


SECRET = re.compile(
    "(?<![a-z])(?:token|(?:api|auth|access|private)?key|secret|password|passwd|auth|credentials?)(?![a-z])",
    re.IGNORECASE,
)
"""As a word in the name of an option: its value is not written. ``--max-tokens`` and ``--tokenizer`` are none."""
MASK = "***"
_IN_URL = re.compile(r"(\w://)[^/\s@]+@")
"""User and password of an address."""
_IN_QUERY = re.compile(rf"([?&;][^=&\s]*(?:{SECRET.pattern})[^=&\s]*=)[^&#\s]+", re.IGNORECASE)
"""A secret among an address's parameters."""


def masked(arguments: list[str]) -> list[str]:
    """A command line without its secrets: ``--api-key=***``, ``--password ***``, ``https://***@host``."""
    out: list[str] = []
    is_secret = False
    """Whether the word before was an option whose value is a secret."""
    for argument in arguments:
        name, is_assignment, _ = argument.partition("=")
        is_option = argument.startswith("-")
        has_secret_name = SECRET.search(name) is not None
        if is_secret and not is_option:
            out.append(MASK)
        elif is_assignment and has_secret_name and "://" not in name:
            out.append(f"{name}={MASK}")
        else:
            out.append(_IN_QUERY.sub(rf"\1{MASK}", _IN_URL.sub(rf"\1{MASK}@", argument)))
        is_secret = is_option and not is_assignment and has_secret_name
    return out


def describe(torch: Any) -> dict[str, Any]:
    """This process and its devices. Nothing here starts CUDA."""
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {
        "gpumemprof": __version__,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "argv": masked(sys.argv[:64]),
        "time_us": time.time_ns() // 1000,
        "environment": environment,
        "devices": devices(torch),
    }


def devices(torch: Any) -> list[dict[str, Any]]:
    """The devices as this process numbers them, with PyTorch's own counters."""
    out: list[dict[str, Any]] = []
    if not torch.cuda.is_initialized():
        return out
    seen = cuda_view()
    for index in range(torch.cuda.device_count()):
        entry: dict[str, Any] = {"device": index}
        properties = torch.cuda.get_device_properties(index)
        entry["name"] = properties.name
        entry["total_bytes"] = properties.total_memory
        uuid = getattr(properties, "uuid", None)
        if uuid is not None:
            entry["uuid"] = str(uuid)
        place: list[Any] = [getattr(properties, f"pci_{name}_id", None) for name in ("domain", "bus", "device")]
        if None not in place:
            entry["bus"] = place
            entry["pci_address"] = "{:04x}:{:02x}:{:02x}.0".format(*place)
        entry.update(seen.get(index, {}))
        entry["counters"] = counters(torch, index)
        out.append(entry)
    return out


def cuda_view() -> dict[int, dict[str, Any]]:
    """The devices as CUDA's driver sees them, by number: what older PyTorch does not tell (the UUID,
    the place on the bus; under MIG the instance's), and the free bytes. Empty where the driver is
    too old or another's (ROCm)."""
    try:
        found = json.loads(_native.cuda_devices_json())
    except _native.Error:
        return {}
    out = {}
    for one in found:
        entry = {"uuid": one["uuid"], "pci_address": one["pci_bus_id"], "cuda_free_bytes": one["free_bytes"]}
        out[one["device"]] = {name: value for name, value in entry.items() if value is not None}
    return out


def counters(torch: Any, device: int) -> dict[str, int]:
    """The allocator's counters: now and at their peaks."""
    nested = torch.cuda.memory_stats_as_nested_dict(device)
    out: dict[str, int] = {}
    for name in COUNTERS:
        values = nested.get(name, {}).get("all", {})
        for when in ("current", "peak"):
            if when in values:
                out[f"{name}_{when}"] = values[when]
    for name in ("num_alloc_retries", "num_ooms", "num_oom_rejections"):
        if name in nested:
            out[name] = nested[name]
    return out


def outside_pytorch(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What lies outside PyTorch on each of the ``devices``, asked of NVML now.

    ``process_outside_bytes``: what NVML counts for this process beyond what PyTorch reserved
    (context, libraries, NCCL); ``others``: other processes; ``told_by``: how this process was told
    from them. None where NVML does not say.
    """
    asked = [
        {
            "device": device["device"],
            "uuid": device.get("uuid"),
            "bus": device.get("bus"),
            "reserved_bytes": device.get("counters", {}).get("reserved_bytes_current", 0),
        }
        for device in found
    ]
    out: list[dict[str, Any]] = json.loads(_native.outside_json(json.dumps(asked)))
    return out
