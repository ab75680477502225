"""Programs for the simulated device: `python programs.py NAME [ARGUMENT ...]` prints the result as JSON."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import NoReturn

MIB = 1 << 20


class Memory2(ctypes.Structure):
    """`nvmlMemory_v2_t`."""

    _fields_ = [("version", ctypes.c_uint)] + [
        (name, ctypes.c_ulonglong) for name in ("total", "reserved", "free", "used")
    ]


class Process(ctypes.Structure):
    """`nvmlProcessInfo_v2_t`."""

    _fields_ = [
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


def nvml(device: int = 0) -> dict:
    """What NVML says of a board; its error codes where it refuses."""
    library = ctypes.CDLL("libnvidia-ml.so.1")
    code = library.nvmlInit_v2()
    if code:
        return {"init": code}
    count, handle = ctypes.c_uint(), ctypes.c_void_p()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    library.nvmlDeviceGetHandleByIndex_v2(device, ctypes.byref(handle))
    memory = Memory2(version=ctypes.sizeof(Memory2) | 2 << 24)
    memory_code = library.nvmlDeviceGetMemoryInfo_v2(handle, ctypes.byref(memory))
    room, processes = ctypes.c_uint(32), (Process * 32)()
    process_code = library.nvmlDeviceGetComputeRunningProcesses_v3(handle, ctypes.byref(room), processes)
    uuid = ctypes.create_string_buffer(96)
    library.nvmlDeviceGetUUID(handle, uuid, 96)
    return {
        "count": count.value,
        "memory_code": memory_code,
        "process_code": process_code,
        **{name: getattr(memory, name) for name in ("total", "reserved", "free", "used")},
        "processes": [[p.pid, p.used] for p in processes[: room.value]] if process_code == 0 else [],
        "uuid": uuid.value.decode(),
    }


def nvml_elsewhere(device: int = 0) -> dict:
    """The same, asked by a process without PyTorch."""
    command = [sys.executable, __file__, "nvml", str(device)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def counters(device: int = 0) -> dict:
    """The allocator's counters beside what its own snapshot and the device add up to."""
    import torch

    stats = torch.cuda.memory_stats(device)
    segments = [s for s in torch.cuda.memory_snapshot() if s["device"] == device]
    free, total = torch.cuda.mem_get_info(device)
    return {
        "reserved": stats["reserved_bytes.all.current"],
        "allocated": stats["allocated_bytes.all.current"],
        "peak": stats["allocated_bytes.all.peak"],
        "requested_peak": stats["requested_bytes.all.peak"],
        "ooms": stats["num_ooms"],
        "max_split_size": stats["max_split_size"],
        "segments": sum(s["total_size"] for s in segments),
        "blocks": sum(s["allocated_size"] for s in segments),
        "expandable": sum(s["is_expandable"] for s in segments),
        "pools": sorted({tuple(s["segment_pool_id"]) for s in segments}),
        "device_used": total - free,
        "device_total": total,
    }


def gpt(steps: int = 3, batch: int = 4):
    """Trains a small GPT with AdamW."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, width: int, heads: int):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            h = self.norms[0](x)
            x = x + self.attention(h, h, h, need_weights=False)[0]
            return x + self.mlp(self.norms[1](x))

    class Gpt(nn.Module):
        def __init__(self, tokens: int = 1000, width: int = 128, layers: int = 3):
            super().__init__()
            self.embedding = nn.Embedding(tokens, width)
            self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
            self.head = nn.Linear(width, tokens, bias=False)

        def forward(self, tokens):
            return self.head(self.blocks(self.embedding(tokens)))

    model = Gpt().cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        tokens = torch.zeros(batch, 128, dtype=torch.long, device="cuda")
        logits = model(tokens)
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def train_gpt() -> dict:
    model, _optimizer = gpt()
    return {**counters(), "parameters": sum(p.numel() for p in model.parameters())}


def train_models() -> dict:
    """One step of ResNet-50 and ViT from torchvision and of a BERT from transformers."""
    import torch
    import torchvision
    import transformers

    peaks = {"cudnn": torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled}

    def step(name, model, loss_of):
        torch.cuda.reset_peak_memory_stats()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss_of(model).backward()
        optimizer.step()
        peaks[name] = torch.cuda.max_memory_allocated()

    images = torch.zeros(4, 3, 224, 224, device="cuda")
    tokens = torch.zeros(4, 64, dtype=torch.long, device="cuda")
    step("resnet50", torchvision.models.resnet50().cuda(), lambda m: m(images).sum())
    step("vit_b_16", torchvision.models.vit_b_16().cuda(), lambda m: m(images).sum())
    config = transformers.BertConfig(num_hidden_layers=2, vocab_size=1000)
    step(
        "bert",
        transformers.BertForMaskedLM(config).cuda(),
        lambda m: m(tokens, labels=tokens).loss,
    )
    return peaks


def cudnn() -> dict:
    """Which backends convolutions and attention use with nothing switched off, and their peaks."""
    import torch
    from torch.nn import functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    image = torch.zeros(2, 16, 32, 32, device="cuda", requires_grad=True)
    weight = torch.zeros(32, 16, 3, 3, device="cuda", requires_grad=True)
    geometry = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1)
    results = {"convolution": str(torch._C._select_conv_backend(image, weight, None, *geometry))}

    def convolution_temporary() -> int:
        """Bytes that a forward pass takes beyond its output."""
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        output = F.conv2d(image, weight, padding=1)
        return torch.cuda.max_memory_allocated() - before - output.numel() * output.element_size()

    results["temporary_with"] = convolution_temporary()
    torch.backends.cudnn.enabled = False
    results["temporary_without"] = convolution_temporary()
    torch.backends.cudnn.enabled = True
    for flags in ({}, {"benchmark": True}, {"deterministic": True}):
        with torch.backends.cudnn.flags(enabled=True, **flags):
            norm = F.batch_norm(F.conv2d(image, weight), None, None, training=True)
            norm.sum().backward()
    results["gradient"] = list(weight.grad.shape)
    for backend in (
        None,
        "FLASH_ATTENTION",
        "EFFICIENT_ATTENTION",
        "CUDNN_ATTENTION",
        "MATH",
    ):
        q, k, v = (torch.zeros(2, 4, 64, 64, device="cuda", dtype=torch.half, requires_grad=True) for _ in range(3))
        chosen = list(SDPBackend.__members__.values()) if backend is None else getattr(SDPBackend, backend)
        with sdpa_kernel(chosen):
            output = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        output.sum().backward()
        results[str(backend)] = output.grad_fn.name()
    return results


def out_of_memory() -> dict:
    import torch

    held = [torch.empty(100 * MIB, dtype=torch.uint8, device="cuda") for _ in range(4)]
    seen = []
    torch._C._cuda_attach_out_of_memory_observer(lambda *facts: seen.append(facts))
    try:
        torch.empty(900 * MIB, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError as problem:
        message = str(problem)
    after = counters()
    held.clear()
    torch.empty(900 * MIB, dtype=torch.uint8, device="cuda")
    return {"message": message, "observer": seen, "after": after, "at_end": counters()}


def settings() -> dict:
    gpt(batch=8)
    return counters()


def graph() -> dict:
    import torch

    outside = torch.zeros(1, device="cuda")
    captured = torch.cuda.CUDAGraph()
    status = [torch.cuda.is_current_stream_capturing()]
    with torch.cuda.graph(captured):
        status.append(torch.cuda.is_current_stream_capturing())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            status.append(torch.cuda.is_current_stream_capturing())
            kept = torch.zeros(1000, device="cuda")
        torch.cuda.current_stream().wait_stream(side)
    status.append(torch.cuda.is_current_stream_capturing())
    captured.replay()
    return {**counters(), "status": status, "kept": [outside.numel(), kept.numel()]}


def two_devices() -> dict:
    import torch

    tensors = [torch.zeros((device + 1) * 10 * MIB, device=f"cuda:{device}") for device in range(2)]
    copied = tensors[0].to("cuda:1")
    return {
        "count": torch.cuda.device_count(),
        "pointers": [t.data_ptr() for t in tensors],
        "copied": str(copied.device),
        "used": [counters(0), counters(1)],
        "nvml": [nvml(0), nvml_elsewhere(1)],
        "peer": torch.cuda.can_device_access_peer(0, 1),
    }


def pending_free() -> dict:
    """The states of a block that a second stream used, after its tensor died."""
    import torch

    def states() -> list[str]:
        segments = torch.cuda.memory_snapshot()
        return [b["state"] for s in segments for b in s["blocks"] if b["address"] == address]

    tensor = torch.zeros(10 * MIB, device="cuda")
    address = tensor.data_ptr()
    side = torch.cuda.Stream()
    tensor.record_stream(side)
    del tensor
    seen = states()
    for _ in range(4):
        # Every allocation asks the recorded events once.
        small = torch.zeros(1, device="cuda")
        del small
        seen += states()
    return {"states": seen}


def host() -> dict:
    import torch

    pinned = torch.arange(1000, dtype=torch.float32).pin_memory()
    ordinary = torch.arange(1000, dtype=torch.float32)
    device = pinned.to("cuda", non_blocking=True)
    copy = torch.empty_like(device).copy_(device)
    torch.cuda.synchronize()
    back = [device.cpu().sum().item(), copy[10:].cpu().sum().item()]
    device.add_(1)
    back.append(device.cpu().sum().item())
    return {
        "pinned": [pinned.is_pinned(), ordinary.is_pinned()],
        "kept": pinned.sum().item(),
        "back": back,
    }


def distributed(folder: str) -> NoReturn:
    """Data-parallel training of one rank, under torchrun."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.cuda.set_device(rank)
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(4))).cuda()
    model = torch.nn.parallel.DistributedDataParallel(model, device_ids=[rank])
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        model(torch.zeros(16, 256, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    distributed.barrier()
    result = {"pid": os.getpid(), **counters(rank), "nvml": nvml(rank)}
    with open(os.path.join(folder, f"{rank}.json"), "w") as file:
        json.dump(result, file)
    distributed.destroy_process_group()
    # Gloo's threads live as long as the model does, and one that lets go of a Python object while
    # the interpreter ends aborts the process (`ProcessGroupGloo::runLoop`, PyTorch 2.15): this
    # process ends without that.
    os._exit(0)


def agreement() -> dict:
    import torch

    gpt()
    inside, outside = nvml(), nvml_elsewhere()
    return {
        "pid": os.getpid(),
        "inside": inside,
        "outside": outside,
        **counters(),
        "name": torch.cuda.get_device_name(),
    }


def visible() -> dict:
    import torch

    return {
        "count": torch.cuda.device_count(),
        "uuids": [str(torch.cuda.get_device_properties(d).uuid) for d in range(torch.cuda.device_count())],
    }


def hold(mib: str) -> dict:
    """Holds memory until standard input closes."""
    import torch

    held = torch.empty(int(mib) * MIB, dtype=torch.uint8, device="cuda")
    print("holding", flush=True)
    sys.stdin.read()
    return {"held": held.numel()}


def take(mib: str) -> dict:
    import torch

    try:
        torch.empty(int(mib) * MIB, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError as problem:
        return {"message": str(problem)}
    return {"message": None}


def addresses() -> dict:
    gpt(steps=1)
    import torch

    return {"blocks": [[s["address"], s["total_size"]] for s in torch.cuda.memory_snapshot()]}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    function = globals()[name]
    print(json.dumps(function(*map(int, arguments)) if name == "nvml" else function(*arguments)))
