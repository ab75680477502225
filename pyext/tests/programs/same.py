"""Trains with PyTorch's own recording (`plain`) or with ours; prints what the device went through."""

import json
import sys

import torch

torch.cuda.init()
from models import GPT, counters, events, graph, loss_of, stacks, train_step  # noqa: E402

mode, checkpoint = sys.argv[1], sys.argv[2] == "checkpoint"
memory = torch.cuda.memory
if mode == "ours":
    import gpumemprof

    assert gpumemprof.enable("runs")
else:
    memory._record_memory_history(stacks="python")
model = GPT(checkpoint=checkpoint).cuda()
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(3):
    train_step(model, optimizer, accumulate=2)
loss = loss_of(model)
nodes = graph(loss)
loss.backward()
gradients = [list(parameter.grad.shape) for parameter in model.parameters()]
snapshot = memory._snapshot()
out = {"counters": counters(), "events": events(snapshot), "stacks": stacks(snapshot)}
print(json.dumps({**out, "graph": nodes, "gradients": gradients}))
