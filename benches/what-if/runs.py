#!/usr/bin/env python3
"""Runs ten programs under twenty allocator settings each, and writes down what the real allocator did.

    simgpu/run.py -- PYTHON benches/what-if/runs.py OUTPUT_FOLDER [PROGRAM ...]

PYTHON is an environment with PyTorch, torchvision and transformers. For each program the folder gets the
snapshot of its default run, and `truth.jsonl` a line for each run: settings, capacity, and PyTorch's own
statistics. `cargo run --release -p profiler-core --example what_if_table -- FOLDER` then predicts every
line from the program's default snapshot alone and prints the table in `benches/what-if.md`.

Each run is a fork of this process, which imports everything once and never touches CUDA itself.

On a real GPU (`PYTHON benches/what-if/runs.py --real OUTPUT_FOLDER`) the runs that need a device of a certain
capacity are left out, and each program's runs go on beside the other programs'.
"""

import argparse
import json
import os
import traceback

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
import transformers
from torch.utils.checkpoint import checkpoint

DEVICE = "cuda"
KEEP = [
    f"{name}_bytes.all.{kind}"
    for name in ("allocated", "active", "reserved", "requested", "inactive_split")
    for kind in ("peak", "current")
]
KEEP += [
    "num_alloc_retries",
    "num_ooms",
    "num_device_alloc",
    "num_device_free",
    "segment.all.peak",
    "allocation.all.allocated",
]


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        h = self.ln1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary=4000, width=384, layers=4, heads=6, checkpointed=False):
        super().__init__()
        self.tok = nn.Embedding(vocabulary, width)
        self.pos = nn.Embedding(2048, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.checkpointed = checkpointed

    def forward(self, tokens):
        x = self.tok(tokens) + self.pos(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointed else block(x)
        return self.head(x)


def train(model, make_batch, loss_of, steps, accumulate=1):
    model = model.to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for step in range(steps):
        for part in range(accumulate):
            loss_of(model, *make_batch(step * accumulate + part)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def tokens(batch, length):
    return torch.zeros(batch, length, dtype=torch.long, device=DEVICE)


def next_token_loss(model, x, y):
    out = model(x)
    return F.cross_entropy(out.view(-1, out.size(-1)), y.view(-1))


def image_loss(model, x, y):
    return F.cross_entropy(model(x), y)


def images(batch, side):
    return torch.zeros(batch, 3, side, side, device=DEVICE), torch.zeros(batch, dtype=torch.long, device=DEVICE)


LENGTHS = [256, 512, 384, 1024, 128, 768, 512, 896]


def gpt():
    train(GPT(), lambda _: (tokens(8, 512), tokens(8, 512)), next_token_loss, 3)


def variable():
    train(GPT(), lambda step: (tokens(8, LENGTHS[step]), tokens(8, LENGTHS[step])), next_token_loss, len(LENGTHS))


def checkpointing():
    train(
        GPT(layers=6, checkpointed=True),
        lambda step: (tokens(8, LENGTHS[step]), tokens(8, LENGTHS[step])),
        next_token_loss,
        4,
    )


def accumulation():
    train(
        GPT(),
        lambda step: (tokens(4, LENGTHS[step % 8]), tokens(4, LENGTHS[step % 8])),
        next_token_loss,
        3,
        accumulate=4,
    )


def bert():
    config = transformers.BertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, vocab_size=8000
    )
    sides = [64, 256, 128, 384]

    def loss(model, x, y):
        return model(input_ids=x, labels=y).loss

    train(
        transformers.BertForMaskedLM(config),
        lambda step: (tokens(16, sides[step]), tokens(16, sides[step])),
        loss,
        len(sides),
    )


def vit():
    model = torchvision.models.VisionTransformer(
        image_size=224, patch_size=16, num_layers=4, num_heads=6, hidden_dim=384, mlp_dim=1536
    )
    train(model, lambda step: images([16, 8, 24][step], 224), image_loss, 3)


def resnet():
    sides = [128, 160, 96]
    train(torchvision.models.resnet18(), lambda step: images(16, sides[step]), image_loss, len(sides))


@torch.no_grad()
def kv_cache():
    """Inference whose keys and values grow by a token a step."""
    width, layers, batch = 512, 6, 8
    weights = [torch.zeros(width, 3 * width, device=DEVICE) for _ in range(layers)]
    cache = [[torch.zeros(batch, 8, 96, 64, device=DEVICE) for _ in range(2)] for _ in range(layers)]
    for _ in range(120):
        x = torch.zeros(batch, 1, width, device=DEVICE)
        for weight, (keys, values) in zip(weights, cache):
            q, k, v = (x @ weight).view(batch, 1, 3, 8, 64).permute(2, 0, 3, 1, 4)
            keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
            x = x + ((q @ keys.transpose(2, 3)).softmax(-1) @ values).reshape(batch, 1, width)
        for layer in range(layers):
            cache[layer] = [torch.cat([part, part[:, :, -1:]], 2) for part in cache[layer]]


def streams():
    model = GPT().to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    side = torch.cuda.Stream()
    for length in LENGTHS[:5]:
        with torch.cuda.stream(side):
            extra = torch.zeros(8, length, 384, device=DEVICE)
        extra.record_stream(torch.cuda.current_stream())
        side.wait_stream(torch.cuda.current_stream())
        out = model(tokens(8, length))
        del extra
        F.cross_entropy(out.view(-1, out.size(-1)), tokens(8, length).view(-1)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def graphs():
    model = GPT()
    train(model, lambda step: (tokens(8, LENGTHS[step]), tokens(8, LENGTHS[step])), next_token_loss, 3)
    captured = []
    for length in (128, 256):
        x = tokens(4, length)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            y = model(x)
        captured.append((graph, x, y))


PROGRAMS = {
    f.__name__: f for f in (gpt, bert, vit, resnet, variable, checkpointing, accumulation, kv_cache, streams, graphs)
}

# (settings, capacity as a share of the default run's peak, memory fraction)
RUNS = [
    ("", None, None),
    ("expandable_segments:True", None, None),
    ("max_split_size_mb:32", None, None),
    ("max_split_size_mb:64", None, None),
    ("max_split_size_mb:128", None, None),
    ("max_split_size_mb:64,max_non_split_rounding_mb:64", None, None),
    ("max_split_size_mb:64,expandable_segments:True", None, None),
    ("roundup_power2_divisions:2", None, None),
    ("roundup_power2_divisions:8", None, None),
    ("roundup_power2_divisions:[1:16,16:8,64:4,>:2]", None, None),
    ("roundup_power2_divisions:4,expandable_segments:True", None, None),
    ("garbage_collection_threshold:0.5", 1.1, 0.95),
    ("garbage_collection_threshold:0.8", 1.02, 1.0),
    ("garbage_collection_threshold:0.6,max_split_size_mb:64", 1.1, 0.95),
    ("", 0.97, None),
    ("", 0.9, None),
    ("", 0.75, None),
    ("expandable_segments:True", 0.92, None),
    ("expandable_segments:True", 0.8, None),
    ("max_split_size_mb:64", 0.95, None),
]
NEW_RUNS = [
    ("large_segment_size_mb:12", None, None),
    ("large_segment_size_mb:64", None, None),
    ("large_segment_size_mb:40,expandable_segments:True", None, None),
]


def child(name, conf, capacity, fraction, snapshot, write):
    os.environ["SIMGPU_CAPACITY"] = f"{capacity}MiB"
    os.environ["SIMGPU_PENDING"] = "3" if name == "streams" else "0"
    if conf:
        if hasattr(torch._C, "_accelerator_setAllocatorSettings"):
            torch._C._accelerator_setAllocatorSettings(conf)
        else:
            torch.cuda.memory._set_allocator_settings(conf)
    if snapshot:
        torch.cuda.memory._record_memory_history(stacks="python", context="alloc")
    torch.cuda.init()
    if fraction:
        torch.cuda.set_per_process_memory_fraction(fraction)
    try:
        PROGRAMS[name]()
    except torch.OutOfMemoryError:
        pass
    if snapshot:
        torch.cuda.memory._dump_snapshot(snapshot)
    stats = torch.cuda.memory_stats()
    os.write(write, json.dumps({key: stats.get(key) for key in KEEP}).encode())


def run(name, conf, capacity, fraction, snapshot=None):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(name, conf, capacity, fraction, snapshot, write)
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


def run_all(name, folder, is_real):
    """Every run of one program, as lines of truth."""
    version = torch.__version__
    file = f"{version[:4].rstrip('.')}-{name}.pickle"
    default = None
    for conf, share, fraction in RUNS + (NEW_RUNS if hasattr(torch._C, "_accelerator_setAllocatorSettings") else []):
        if is_real and share is not None:
            continue
        capacity = 81920 if share is None else int(default["reserved_bytes.all.peak"] * share) >> 20
        snapshot = os.path.join(folder, file) if default is None else None
        stats = run(name, conf, capacity, fraction, snapshot)
        if stats is None:
            print("failed:", name, conf, capacity, flush=True)
            if default is None:
                return
            continue
        default = default or stats
        yield {
            "file": file,
            "torch": version,
            "program": name,
            "alloc_conf": conf,
            "device_mib": capacity,
            "memory_fraction": fraction,
            "devices": {"0": stats},
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="on a real GPU")
    parser.add_argument("folder")
    parser.add_argument("programs", nargs="*", choices=[*PROGRAMS, []], metavar="PROGRAM")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)

    def work(name):
        for row in run_all(name, options.folder, options.real):
            # One write each: the programs share the file.
            with open(os.path.join(options.folder, "truth.jsonl"), "a") as truth:
                truth.write(json.dumps(row) + "\n")

    started = []
    for name in options.programs or list(PROGRAMS):
        process = os.fork() if options.real else 0
        if process:
            started.append(process)
            continue
        work(name)
        if options.real:
            os._exit(0)
    for process in started:
        os.waitpid(process, 0)


main()
