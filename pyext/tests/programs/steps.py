"""Whose step it is: two optimizers in turn, one in the backward pass, a profile within a recording, a folder that
cannot be written, a model that is only asked. Prints what was recorded."""

import json
import os

import gpumemprof
import torch
from models import GPT, train_step
from torch import nn

out = {}
assert gpumemprof.enable("runs")
labels = gpumemprof._recorder.current().labels


def two_optimizers(*given):
    """A GAN: how many steps five iterations are."""
    first, second = nn.Linear(64, 64).cuda(), nn.Linear(64, 1).cuda()
    of_first, of_second = (torch.optim.Adam(one.parameters()) for one in (first, second))
    with gpumemprof.profile(first, [of_second, of_first][: len(given)]):
        begin = labels.step
        for _ in range(5):
            z = torch.zeros(8, 64, device="cuda")
            second(first(z).detach()).sum().backward()
            of_second.step()
            second(first(z)).sum().backward()
            of_first.step()
        return labels.step - begin + 1


out["two optimizers"] = two_optimizers(1, 2)

# The label within a backward pass, before and after an optimizer that steps in it.
linear = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)).cuda()
inner = torch.optim.SGD(linear[1].parameters(), lr=0.1)
seen = []


def step_within(_parameter):
    seen.append(labels.current())
    inner.step()
    seen.append(labels.current())


linear[1].weight.register_post_accumulate_grad_hook(step_within)
begin = labels.step
for _ in range(3):
    linear(torch.zeros(8, 64, device="cuda")).sum().backward()
out["within"] = {"before": seen[-2], "after": seen[-1], "steps": labels.step - begin}
out["label at the end"] = labels.native.current

# A profile within the recording: its own folder, and what it cannot change is said.
model = GPT(layers=1).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with gpumemprof.profile(model, optimizer, out="own", max_entries=77) as prof:
    for _ in range(3):
        train_step(model, optimizer)
        prof.step()
    out["explicit"] = labels.is_explicit
out["explicit after"] = labels.is_explicit
out["folder"], out["snapshots"] = str(prof.folder), [str(path) for path in prof.snapshots]
out["again"] = str(prof.snapshot().path)
out["other"] = str(gpumemprof.dump("other"))

# Many modules for one step each, and walks that are alike.
for _ in range(20):
    loss = nn.MSELoss()(linear(torch.zeros(2, 64, device="cuda")), torch.zeros(2, 64, device="cuda"))
    loss.backward()
del loss
out["roots"] = len(labels.names.roots)
out["passes"] = labels.batches.document()[-1]["passes"]

# Secrets, and which snapshot a sidecar is of.
import sys  # noqa: E402

sys.argv += ["--api-key", "abc"]
path = gpumemprof.dump("ends")
sidecar = json.loads(path.with_suffix(".gpumemprof.json").read_text())
trace = torch.cuda.memory._snapshot()["device_traces"][0]
times = [event.get("time_us") for event in trace]
out["argv"] = sidecar["run"]["argv"]
(end,) = sidecar["ends"]
out["end"] = [end["device"], end["events"] <= len(trace), end["time_us"] in times]
out["walks"] = [len(sidecar["walks"]), len(sidecar["tensor_sets"]), "tensors" in sidecar["walks"][0]]
gpumemprof.disable()

# A schedule whose folder cannot be made, and the end of a profile too.
open("file", "w").close()
with gpumemprof.profile(model, optimizer, out="file", schedule=gpumemprof.Schedule(1, 2)) as prof:
    for _ in range(5):
        train_step(model, optimizer)
        prof.step()
    out["is on"] = bool(torch._C._cuda_isHistoryEnabled()) if hasattr(torch._C, "_cuda_isHistoryEnabled") else False
with gpumemprof.profile(model, optimizer, out="file") as prof:
    train_step(model, optimizer)
assert os.path.getsize("file") == 0
print(json.dumps(out))
