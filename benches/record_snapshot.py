"""Records a long real history on the simulated device (see `simgpu/`), for measuring the reader.

    python3 simgpu/run.py --capacity 80GiB -- python benches/record_snapshot.py EVENTS OUT.pickle

A small GPT is trained with sequences of varying length until the recording has EVENTS events:
about 1,800 per step.
"""

import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

events, out = int(sys.argv[1]), sys.argv[2]
torch.backends.cudnn.enabled = False


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        h = self.norm1(x)
        a, _ = self.attn(h, h, h, need_weights=False)
        x = x + a
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, words=8000, width=512, layers=6, heads=8):
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, i):
        x = self.tokens(i)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


torch.cuda.memory._record_memory_history(stacks="python", max_entries=2 * events)
model = GPT().to("cuda")
optimizer = torch.optim.AdamW(model.parameters())
lengths = [256, 512, 384, 1024, 128, 768, 512, 896, 640, 320]
step = 0
while True:
    length = lengths[step % len(lengths)]
    x = torch.zeros(8, length, dtype=torch.long, device="cuda")
    out_ = model(x)
    loss = F.cross_entropy(out_.view(-1, out_.size(-1)), x.view(-1))
    del out_
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    step += 1
    stats = torch.cuda.memory_stats()
    # An allocation is three events: alloc, free_requested, free_completed.
    if 3 * stats["allocation.all.allocated"] >= events:
        break
torch.cuda.memory._dump_snapshot(out)
