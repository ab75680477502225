"""Records a real snapshot of about as many events as asked for, by training on the simulated device.

    simgpu/run.py -- .venv/torch-2.15/bin/python benches/record_snapshots.py EVENTS OUT.pickle

A GPT with sequences of varying length and Python stacks, recorded from before its first allocation; nothing is
dropped. Ten million events take minutes, about 10 GB of memory while the snapshot is written, and 1 GB on disk.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

LENGTHS = [256, 512, 384, 1024, 128, 768, 512, 896, 640, 320]


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    def __init__(self, tokens=8000, width=512, layers=12):
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(2048, width)
        self.blocks = nn.ModuleList(Block(width, 8) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens, bias=False)

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def events_so_far():
    """A little less than the recorded events: an allocation is one, a free is two."""
    stats = torch.cuda.memory_stats()
    return (
        stats["allocation.all.allocated"]
        + 2 * stats["allocation.all.freed"]
        + stats["num_device_alloc"]
        + stats["num_device_free"]
    )


def main():
    wanted, out = int(sys.argv[1]), sys.argv[2]
    torch.cuda.memory._record_memory_history(stacks="python")
    started = time.monotonic()
    model = Gpt().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    step = 0
    while events_so_far() < wanted:
        tokens = torch.zeros(8, LENGTHS[step % len(LENGTHS)], dtype=torch.long, device="cuda")
        logits = model(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
    print(f"{step} steps, {events_so_far()} events, {time.monotonic() - started:.0f} s")
    torch.cuda.memory._dump_snapshot(out)
    print(f"{out}: written after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
