"""A small GPT and a step of training it."""

import torch
import torch.nn as nn
import torch.nn.functional as F


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
    def __init__(self, words=4000, width=256, layers=3, heads=4, checkpoint=False):
        super().__init__()
        self.tok = nn.Embedding(words, width)
        self.pos = nn.Embedding(1024, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.checkpoint = checkpoint

    def forward(self, ids):
        x = self.tok(ids) + self.pos(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            if self.checkpoint:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.head(self.ln(x))


def loss_of(model, batch=4, length=256):
    ids = torch.zeros(batch, length, dtype=torch.long, device="cuda")
    targets = torch.zeros(batch, length, dtype=torch.long, device="cuda")
    out = model(ids)
    return F.cross_entropy(out.view(-1, out.size(-1)), targets.view(-1))


def train_step(model, optimizer, accumulate=1, **shape):
    for _ in range(accumulate):
        loss_of(model, **shape).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


COUNTERS = ("requested_bytes", "allocated_bytes", "reserved_bytes", "allocation")


def counters(device=0):
    stats = torch.cuda.memory_stats(device)
    out = {f"{name}_{when}": stats[f"{name}.all.{when}"] for name in COUNTERS for when in ("peak", "current")}
    out["allocations"] = stats["allocation.all.allocated"]
    return out


def events(snapshot):
    """The allocator's events without what may differ between two runs: addresses and times."""
    first = {}
    out = []
    for event in snapshot["device_traces"][0]:
        if event["action"] == "snapshot":
            continue
        place = first.setdefault(event.get("addr", 0), len(first))
        out.append([event["action"], event["size"], event["stream"], place])
    return out


def stacks(snapshot):
    """The different Python stacks of the events, and which of them each event has."""
    known, of_events = {}, []
    for event in snapshot["device_traces"][0]:
        # `_wrapped_call_impl` calls modules from one of two lines, and ours from the other.
        frames = tuple(
            f"{frame['name']} {frame['filename']}"
            + (f":{frame['line']}" if frame["name"] != "_wrapped_call_impl" else "")
            for frame in event.get("frames", [])
        )
        of_events.append(known.setdefault(frames, len(known)))
    return list(known), of_events


def graph(loss):
    """The autograd graph's node names, in order of a walk."""
    names, pending, seen = [], [loss.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.append(node.name())
        pending += [following for following, _ in node.next_functions]
    return names
