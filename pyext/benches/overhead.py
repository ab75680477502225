"""What recording costs: off, PyTorch's own recording, and ours, in turns within one process.

    simgpu/run.py -- python pyext/benches/overhead.py

Prints a table in Markdown: microseconds per step of a small GPT's training, per allocation and per
module call. On the simulated device there is no arithmetic, so a step is all overhead of Python and
the allocator: the worst case. Times are processor time of the whole process (all threads, the NVML
sampler too), which a busy machine disturbs less than the clock on the wall. The forms take turns, so that a busy machine hurts all of them alike;
the figure is the median over the rounds, and its spread the interquartile range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "programs"))

import gpumemprof
import torch
from models import GPT, train_step


def calls_of(model, step) -> int:
    """How many modules a step calls."""
    count = 0

    def counted(*_):
        nonlocal count
        count += 1

    handle = torch.nn.modules.module.register_module_forward_pre_hook(counted)
    step()
    handle.remove()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="steps timed in each round and form")
    options = parser.parse_args()
    model = GPT(layers=6).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    memory = torch.cuda.memory

    def step() -> None:
        train_step(model, optimizer)

    for _ in range(5):
        step()
    calls = calls_of(model, step)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    step()
    allocations = torch.cuda.memory_stats()["allocation.all.allocated"] - before
    out = tempfile.mkdtemp()

    def off() -> None:
        pass

    forms = {
        "off": (off, off),
        "PyTorch's recording": (
            lambda: memory._record_memory_history(stacks="python", max_entries=200_000),
            lambda: memory._record_memory_history(enabled=None),
        ),
        "gpumemprof, no labels": (lambda: gpumemprof.enable(out, labels=False), gpumemprof.disable),
        "gpumemprof": (lambda: gpumemprof.enable(out), gpumemprof.disable),
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(options.rounds):
        for name, (start, stop) in forms.items():
            start()
            step()
            torch.cuda.synchronize()
            begin = time.process_time()
            for _ in range(options.steps):
                step()
            times[name].append((time.process_time() - begin) / options.steps * 1e6)
            stop()
    middle = {name: statistics.median(values) for name, values in times.items()}
    print(f"torch {torch.__version__}, {allocations} allocations and {calls} module calls per step\n")
    print(
        "| form | µs per step | spread | over off, per allocation | over PyTorch's, per allocation | per module call |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, values in times.items():
        quarters = statistics.quantiles(values, n=4)
        over_off = (middle[name] - middle["off"]) / allocations
        # Paired: each round's own difference, so that what slows a round slows both.
        paired = statistics.median(mine - theirs for mine, theirs in zip(values, times["PyTorch's recording"]))
        ours = name.startswith("gpumemprof")
        print(
            f"| {name} | {middle[name]:,.0f} | {quarters[2] - quarters[0]:,.0f} | {over_off:.2f} | "
            + (f"{paired / allocations:.2f} | {paired / calls:.2f} |" if ours else "– | – |")
        )


if __name__ == "__main__":
    main()
