"""Runs out of memory: `raise`s, or `catch`es and goes on, or does so `loop` times; in a `thread`."""

import json
import sys
import threading

import gpumemprof
import torch
from models import GPT, train_step

mode, out = sys.argv[1], sys.argv[2]
gpumemprof.enable(out)
model = GPT().cuda()
optimizer = torch.optim.AdamW(model.parameters())
train_step(model, optimizer)


def too_much():
    train_step(model, optimizer, batch=256, length=512)


if mode == "raise":
    too_much()
if mode == "thread":
    thread = threading.Thread(target=too_much)
    thread.start()
    thread.join()
if mode in ("catch", "loop"):
    for _ in range(30 if mode == "loop" else 1):
        try:
            too_much()
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
train_step(model, optimizer)
print(json.dumps({"ooms": torch.cuda.memory_stats()["num_ooms"]}))
