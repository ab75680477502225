"""What a sidecar says of the run: versions, devices, settings."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from typing import Any

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
        "argv": sys.argv[:64],
        "time_us": time.time_ns() // 1000,
        "environment": environment,
        "devices": devices(torch),
    }


def devices(torch: Any) -> list[dict[str, Any]]:
    """The devices as this process numbers them, with PyTorch's own counters."""
    out: list[dict[str, Any]] = []
    if not torch.cuda.is_initialized():
        return out
    for index in range(torch.cuda.device_count()):
        entry: dict[str, Any] = {"device": index}
        properties = torch.cuda.get_device_properties(index)
        entry["name"] = properties.name
        entry["total_bytes"] = properties.total_memory
        for name in ("uuid", "pci_bus_id", "pci_device_id", "pci_domain_id"):
            value = getattr(properties, name, None)
            if value is not None:
                entry[name] = value if isinstance(value, int) else str(value)
        entry["counters"] = counters(torch, index)
        out.append(entry)
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


def board_of(device: dict[str, Any], boards: list[dict[str, Any]]) -> Any:
    """The NVML board that is PyTorch's ``device``: by UUID, else by its place on the bus. None if
    that cannot be told; never by number, which ``CUDA_VISIBLE_DEVICES`` changes."""
    uuid = str(device.get("uuid", "")).lower()
    for board in boards:
        known = str(board.get("uuid") or "").lower()
        if uuid and known and known.partition("-")[2] == uuid.removeprefix("gpu-"):
            return board
    if "pci_bus_id" in device and "pci_device_id" in device:
        place = (device.get("pci_domain_id", 0), device["pci_bus_id"], device["pci_device_id"])
        for board in boards:
            if _bus_place(str(board.get("pci_bus_id") or "")) == place:
                return board
    if not uuid and len(boards) == 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return boards[0]
    return None


def _bus_place(text: str) -> Any:
    """``00000000:01:00.0`` as (0, 1, 0)."""
    parts = text.replace(".", ":").split(":")
    try:
        domain, bus, device = (int(part, 16) for part in parts[:3])
    except ValueError:
        return None
    return domain, bus, device


def outside_pytorch(samples: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What lies outside PyTorch on each device, from the newest sample and PyTorch's counters.

    ``process_outside_bytes``: what NVML counts for this process beyond what PyTorch reserved
    (context, libraries, NCCL); ``others``: other processes. None where NVML does not say.
    """
    out: list[dict[str, Any]] = []
    newest = samples["samples"][-1] if samples.get("samples") else None
    if newest is None:
        return out
    ours = {samples["process"], samples.get("outer_process")}
    for device in found:
        board = board_of(device, samples.get("boards", []))
        if board is None:
            continue
        sample = next((one for one in newest["boards"] if one["index"] == board["index"]), None)
        if sample is None:
            continue
        reserved = device.get("counters", {}).get("reserved_bytes_current", 0)
        processes = sample.get("processes")
        entry: dict[str, Any] = {
            "device": device["device"],
            "board": board["index"],
            "total_bytes": sample["total_bytes"],
            "used_bytes": sample["used_bytes"],
            "free_bytes": sample["free_bytes"],
            "pytorch_reserved_bytes": reserved,
            "process_used_bytes": None,
            "process_outside_bytes": None,
            "others": None,
        }
        if processes is not None:
            mine = [one for one in processes if one["process"] in ours]
            others = [one for one in processes if one["process"] not in ours]
            if not mine and len(processes) == 1:
                # In a container NVML shows the host's ids: the only process there is, is this one.
                mine, others = processes, []
            if mine and mine[0]["used_bytes"] is not None:
                entry["process_used_bytes"] = mine[0]["used_bytes"]
                outside = mine[0]["used_bytes"] - reserved
                # Less than PyTorch holds: the two were not asked at one time.
                entry["process_outside_bytes"] = outside if outside >= 0 else None
            entry["others"] = others if mine else None
            entry["processes"] = processes
        out.append(entry)
    return out
