"""Trains a model in a region of its own kind, and prints where the snapshot is and what PyTorch counted.

`ddp`, `fsdp1`, `fsdp2` (under torchrun), `compile`, `graph`, `streams`, `shared`, `reentrant`, `threads`,
`keywords`, `plain`.
"""

import json
import os
import sys
import threading

import gpumemprof
import torch
import torch.nn as nn
from models import GPT, counters, loss_of, train_step

mode = sys.argv[1]
is_distributed = mode in ("ddp", "fsdp1", "fsdp2")
if is_distributed:
    torch.distributed.init_process_group("gloo")


class Shared(nn.Module):
    """One linear layer under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(256, 256)
        self.second = self.first

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Inner(nn.Module):
    def forward(self, *, hidden):
        return torch.sin(hidden)


class Keywords(nn.Module):
    """Its parts are called by keyword; it makes what they take."""

    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, *, batch, scale):
        made = torch.exp(batch["x"] * scale)
        return self.inner(hidden=made)


model = GPT().cuda()
optimizer = torch.optim.AdamW(model.parameters())


def step():
    train_step(model, optimizer)


if mode == "ddp":
    model = nn.parallel.DistributedDataParallel(model)
if mode == "fsdp1":
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = FullyShardedDataParallel(model, device_id=0)
    optimizer = torch.optim.AdamW(model.parameters())
if mode == "fsdp2":
    from torch.distributed.fsdp import fully_shard

    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
if mode == "compile":
    model.blocks[0] = torch.compile(model.blocks[0], backend="aot_eager")
    model.blocks[1].mlp = torch.compile(model.blocks[1].mlp, backend="eager")
if mode == "shared":
    model = nn.Sequential(nn.Linear(256, 256), Shared()).cuda()
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        model(torch.zeros(64, 256, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


if mode == "keywords":
    model = Keywords()
    weight = torch.ones((), device="cuda", requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def step():
        model(batch={"x": torch.zeros(1000, 1000, device="cuda")}, scale=weight).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


if mode == "reentrant":
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)) for _ in range(3)))

    class Reentrant(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = blocks

        def forward(self, x):
            for block in self.blocks:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=True)
            return x

    model = Reentrant().cuda()
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        model(torch.zeros(512, 256, device="cuda", requires_grad=True)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


if mode == "streams":
    side = torch.cuda.Stream()

    def step():
        with torch.cuda.stream(side):
            extra = torch.zeros(1 << 20, device="cuda")
        extra.record_stream(torch.cuda.current_stream())
        train_step(model, optimizer)


if mode == "threads":
    helper = nn.Sequential(nn.Linear(256, 256), nn.ReLU()).cuda()

    def work():
        for _ in range(20):
            with torch.no_grad():
                helper(torch.zeros(256, 256, device="cuda"))

    def step():
        thread = threading.Thread(target=work)
        thread.start()
        train_step(model, optimizer)
        thread.join()


torch.cuda.reset_peak_memory_stats()
rank = int(os.environ.get("RANK", 0))
with gpumemprof.profile(model, optimizer, out="runs") as prof:
    if mode == "graph":
        graph = torch.cuda.CUDAGraph()
        loss_of(model).backward()
        optimizer.zero_grad()
        with torch.cuda.graph(graph):
            loss_of(model)
        graph.replay()
        prof.step()
    for _ in range(3):
        step()
        prof.step()
result = {"path": str(prof.snapshot().path), "counters": counters(), "rank": rank}
result["live"] = torch.cuda.memory_stats()["requested_bytes.all.current"]
result["is_expandable"] = any(segment["is_expandable"] for segment in torch.cuda.memory._snapshot()["segments"])
if is_distributed:
    with open(f"result-{rank}.json", "w") as file:
        json.dump(result, file)
    torch.distributed.destroy_process_group()
print(json.dumps(result))
