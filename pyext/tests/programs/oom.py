"""Runs out of memory: `raise`s, or `catch`es and goes on, or does so `loop` times; in a `thread`; with a
`full` disk, with another failure `inside` the observer, with no time to explain (`budget`), or `rejected`
before the device is asked; after more errors that were `recovered` from than get snapshots; `exits` after it was
caught; is raised again as another error in a profile (`wrapped`); with a `slow` disk; when a model is only
`asked`."""

import json
import resource
import sys
import threading
import time

import gpumemprof
import torch
from models import GPT, train_step

mode, out = sys.argv[1], sys.argv[2]
budget = {"budget": 0.0, "slow": 1.0}.get(mode, 20.0)
if mode != "wrapped":
    gpumemprof.enable(out, oom_budget_s=budget)
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
if mode == "recovered":
    for batch in (1024, 512, 384, 320):
        try:
            train_step(model, optimizer, batch=batch, length=512)
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
        train_step(model, optimizer)
    train_step(model, optimizer, batch=256, length=512)
if mode == "exits":
    try:
        too_much()
    except torch.OutOfMemoryError:
        sys.exit(3)
if mode == "wrapped":
    with gpumemprof.profile(model, optimizer, out=out) as prof:
        train_step(model, optimizer)
        try:
            too_much()
        except torch.OutOfMemoryError as problem:
            raise RuntimeError("training failed") from problem
if mode == "slow":
    from gpumemprof import _capture

    write = _capture.write_snapshot

    def slow(*arguments):
        time.sleep(3.0)
        write(*arguments)

    _capture.write_snapshot = slow
    # Another thread is writing one too.
    threading.Thread(target=gpumemprof.dump).start()
    time.sleep(0.3)
    begin = time.monotonic()
    try:
        torch.empty(1 << 42, dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError:
        print(json.dumps({"held_s": time.monotonic() - begin}))
    sys.exit(0)
if mode == "asked":
    model.eval()
    loss = torch.nn.CrossEntropyLoss()
    with torch.no_grad():
        for _ in range(3):
            loss(
                model(torch.zeros(2, 64, dtype=torch.long, device="cuda"))[:, -1], torch.zeros(2, device="cuda").long()
            )
        model(torch.zeros(2048, 512, dtype=torch.long, device="cuda"))
if mode in ("catch", "loop"):
    for _ in range(30 if mode == "loop" else 1):
        try:
            too_much()
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
label = gpumemprof._recorder.current().labels.native.current
train_step(model, optimizer)
print(json.dumps({"ooms": torch.cuda.memory_stats()["num_ooms"], "label": label}))
