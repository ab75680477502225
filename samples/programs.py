"""The training program behind the samples: a small GPT, on a simulated or a real device.

python samples/programs.py PROGRAM OUT.pickle

PROGRAM is a word that switches things on by what it contains: `var` (sequences of varying length),
`cpp` (C++ stacks too), `ring` (only the last 2,000 events), `late` (recording from the third step),
`annot` (steps and parameters named in the snapshot; with `dict` as JSON), `stream` (a second
stream), `graph` (CUDA graph capture), `twodev` (a second device), `host` (pinned memory), `empty`
(empty_cache after each step). `BS` sets the batch size, 8 by default.
"""

import os
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

# The recordings beside this file were made without cuDNN.
torch.backends.cudnn.enabled = False
program, out = sys.argv[1:3]
memory = torch.cuda.memory


class Block(nn.Module):
    """A transformer block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention, then the feed-forward net."""
        h = self.ln1(x)
        a, _ = self.attn(h, h, h, need_weights=False)
        x = x + a
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    """A small language model."""

    def __init__(self, words: int = 8000, width: int = 512, layers: int = 6, heads: int = 8):
        super().__init__()
        self.tok = nn.Embedding(words, width)
        self.pos = nn.Embedding(2048, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits of each next word."""
        x = self.tok(tokens) + self.pos(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


def record() -> None:
    """Starts PyTorch's memory history."""
    options: dict = {"stacks": "all" if "cpp" in program else "python"}
    if "ring" in program:
        options["max_entries"] = 2000
    if "annot" in program and "global_record_annotations" in str(memory._record_memory_history.__signature__):
        options["global_record_annotations"] = True
    if "host" in program:
        options["record_pinned_host_memory"] = True
    memory._record_memory_history(**options)


def step(length: int) -> None:
    """One training step with sequences of `length`."""
    batch = int(os.environ.get("BS", "8"))
    x = torch.zeros(batch, length, dtype=torch.long, device="cuda")
    y = torch.zeros(batch, length, dtype=torch.long, device="cuda")
    if side is not None:
        with torch.cuda.stream(side):
            z = torch.zeros(batch, length, 512, device="cuda")
        z.record_stream(torch.cuda.current_stream())
        side.wait_stream(torch.cuda.current_stream())
    logits = model(x)
    if side is not None:
        del z
    loss = F.cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1))
    del logits
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


if "late" not in program:
    record()
model = GPT().to("cuda")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
side = torch.cuda.Stream() if "stream" in program else None
lengths = [256, 512, 384, 1024, 128, 768, 512, 896, 640, 320] if "var" in program else [512] * 4
try:
    for i, length in enumerate(lengths):
        if "late" in program and i == 2:
            record()
        if "annot" in program and hasattr(memory, "_set_memory_metadata"):
            memory._set_memory_metadata({"step": i} if "dict" in program else f"step={i}")
        with torch.profiler.record_function(f"train_step#{i}"):
            step(length)
        if "empty" in program:
            torch.cuda.empty_cache()
    if "annot" in program and hasattr(memory, "_annotate_tensor"):
        for name, parameter in model.named_parameters():
            memory._annotate_tensor(parameter.data, name)
    if "host" in program:
        pinned = [torch.empty(1 << 20, pin_memory=True) for _ in range(4)]
    if "graph" in program:
        graph = torch.cuda.CUDAGraph()
        tokens = torch.zeros(4, 256, dtype=torch.long, device="cuda")
        with torch.no_grad(), torch.cuda.graph(graph):
            result = model(tokens)
    if "twodev" in program:
        with torch.cuda.device(1):
            kept = [torch.zeros(1 << k, device="cuda:1") for k in range(10, 24)]
            del kept[::2]
except torch.OutOfMemoryError as error:
    print("out of memory:", error)
memory._dump_snapshot(out)
