"""A training script that knows nothing of us. Under torchrun every rank trains on the one device."""

import os
import sys

import torch
from models import GPT, train_step

if "WORLD_SIZE" in os.environ:
    torch.distributed.init_process_group("gloo")
model = GPT(layers=1).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for _ in range(3):
    train_step(model, optimizer)
if "exit" in sys.argv:
    sys.exit(7)
