"""What a module call costs more with labels, in a loop: forward, backward and once a step.

    simgpu/run.py -- python pyext/benches/module_call.py

Fifty modules in a row on the processor, each with one graph node, so that caches are warm: less than the same
costs in a training (`overhead.py`), but a busy machine hardly moves it.
"""

from __future__ import annotations

import tempfile
import time

import gpumemprof
import torch


class Leaf(torch.nn.Module):
    def forward(self, x):
        return x.neg()


def fifth_percentiles(model, x, optimizer, passes: int = 2500) -> list[float]:
    """Microseconds of a forward pass, a backward pass and an optimizer's step."""
    times: list[list[float]] = [[], [], []]
    for _ in range(passes):
        start = time.process_time()
        y = model(x)
        forward = time.process_time()
        y.backward()
        backward = time.process_time()
        optimizer.step()
        end = time.process_time()
        for kept, value in zip(times, (forward - start, backward - forward, end - backward)):
            kept.append(value * 1e6)
    return [sorted(kept)[len(kept) // 20] for kept in times]


def main() -> None:
    model = torch.nn.Sequential(*(Leaf() for _ in range(50)))
    x = torch.zeros(1, requires_grad=True)
    torch.zeros(1, device="cuda")
    optimizer = torch.optim.SGD([x], lr=0.0)
    before = fifth_percentiles(model, x, optimizer)
    gpumemprof.enable(tempfile.mkdtemp())
    ours = fifth_percentiles(model, x, optimizer)
    gpumemprof.disable()
    after = fifth_percentiles(model, x, optimizer)
    forward, backward, step = (one - min(pair) for one, *pair in zip(ours, before, after))
    print(f"torch {torch.__version__}: {forward / 51:.2f} µs forward and {backward / 51:.2f} backward a module call")
    print(f"{step:.1f} µs an optimizer's step")


if __name__ == "__main__":
    main()
