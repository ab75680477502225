"""Trains a model of torchvision or transformers in `gpumemprof.profile`; `none` where it is missing."""

import json
import sys

import gpumemprof
import torch
from models import counters

which = sys.argv[1]
try:
    if which == "bert":
        from transformers import BertConfig, BertForSequenceClassification

        model = BertForSequenceClassification(BertConfig(num_hidden_layers=2, vocab_size=2000))
    else:
        import torchvision

        model = {"resnet50": torchvision.models.resnet50, "vit": torchvision.models.vit_b_16}[which](weights=None)
except ImportError:
    print(json.dumps(None))
    sys.exit()


def loss_of():
    targets = torch.zeros(8, dtype=torch.long, device="cuda")
    if which == "bert":
        return model(input_ids=torch.zeros(8, 256, dtype=torch.long, device="cuda"), labels=targets).loss
    return torch.nn.functional.cross_entropy(model(torch.zeros(8, 3, 224, 224, device="cuda")), targets)


model = model.cuda().train()
optimizer = torch.optim.AdamW(model.parameters())
with gpumemprof.profile(model, optimizer, out="runs") as prof:
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        prof.step()
print(json.dumps({"path": str(prof.snapshot().path), "peak": counters()["requested_bytes_peak"]}))
