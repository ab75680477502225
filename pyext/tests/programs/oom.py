"""Runs out of memory: `raise`s, or `catch`es and goes on, or does so `loop` times; in a `thread`; with a
`full` disk, with another failure `inside` the observer, with no time to explain (`budget`), or `rejected`
before the device is asked."""

import json
import resource
import sys
import threading

import gpumemprof
import torch
from models import GPT, train_step

mode, out = sys.argv[1], sys.argv[2]
gpumemprof.enable(out, oom_budget_s=0.0 if mode == "budget" else 20.0)
model = GPT().cuda()
optimizer = torch.optim.AdamW(model.parameters())
train_step(model, optimizer)


def too_much():
    train_step(model, optimizer, batch=256, length=512)


if mode == "full":
    # Files end here, as on a full disk: Python ignores the signal, and the write fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
if mode == "inside":

    def failing(*arguments, **keywords):
        torch.empty(8 << 30, device="cuda")

    gpumemprof._recorder.Recorder.capture = failing
if mode == "rejected":
    torch.cuda.set_per_process_memory_fraction(0.25)
if mode in ("raise", "full", "inside", "budget", "rejected"):
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
