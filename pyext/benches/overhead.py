"""What recording costs: off, PyTorch's own recording, and ours, in turns within one process.

    simgpu/run.py -- python pyext/benches/overhead.py

Prints a table in Markdown: microseconds per step of a small GPT's training. On the simulated device there is
no arithmetic, so a step is all overhead of Python and the allocator: the worst case. Times are processor time
of the whole process (all threads, the NVML sampler too), step by step. The forms take turns in short rounds,
so that a busy machine hurts all of them alike. Interference only ever adds, so the fifth percentile of the
steps says most of what a form costs itself; the median says what it cost on this machine.
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
    parser.add_argument("--rounds", type=int, default=60)
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
            for _ in range(options.steps):
                begin = time.process_time()
                step()
                times[name].append((time.process_time() - begin) * 1e6)
            stop()
    low = {name: statistics.quantiles(values, n=20)[0] for name, values in times.items()}
    middle = {name: statistics.median(values) for name, values in times.items()}
    base = "PyTorch's recording"
    aim = 1.0 * allocations + 3.0 * calls
    print(
        f"torch {torch.__version__}, {allocations} allocations and {calls} module calls per step: the aim is {aim:.0f}\n"
    )
    print("| form | 5th percentile | median | over PyTorch's (5th) | over PyTorch's (median) |")
    print("|---|--:|--:|--:|--:|")
    for name in forms:
        over = [f"{each[name] - each[base]:,.0f}" if name.startswith("gpumemprof") else "–" for each in (low, middle)]
        print(f"| {name} | {low[name]:,.0f} | {middle[name]:,.0f} | {' | '.join(over)} |")
    print(f"\nPyTorch's own: {(low[base] - low['off']) / allocations:.2f} µs per allocation")


if __name__ == "__main__":
    main()
