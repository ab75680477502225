"""Trains in `gpumemprof.profile` and prints where the snapshot is and PyTorch's own counters."""

import json
import sys

import gpumemprof
import torch
from models import GPT, counters, train_step

model = GPT(checkpoint="checkpoint" in sys.argv).cuda()
optimizer = torch.optim.AdamW(model.parameters())
with gpumemprof.profile(model, optimizer, out="runs") as prof:
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        train_step(model, optimizer, accumulate=2 if "accumulate" in sys.argv else 1)
        prof.step()
print(json.dumps({"path": str(prof.snapshot().path), "counters": counters()}))
