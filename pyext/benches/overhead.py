"""What recording costs: off, PyTorch's own recording, and ours, each in processes of its own, in turns.

    simgpu/run.py -- python pyext/benches/overhead.py

Prints a table in Markdown: microseconds per step of a small GPT's training. On the simulated device there is
no arithmetic, so a step is all overhead of Python and the allocator: the worst case. Times are processor time
of the whole process (all threads, the NVML sampler too), step by step, in a state that lasts: PyTorch's buffer
of events is full and has been written over several times (an event costs more then), and the interpreter has
specialised its code again, which it does after recording has begun. The forms take turns, so that a busy
machine hurts all of them alike, and each is compared with PyTorch's recording of the same round. Interference
only ever adds, so the fifth percentile of the steps says most of what a form costs itself; the median says what
it cost on this machine.

    simgpu/run.py -- valgrind --tool=callgrind --instr-atstart=no python pyext/benches/overhead.py \\
        --form gpumemprof --instructions 10

counts the instructions of a step instead, which are the same on every machine and however busy it is. What goes
by the clock is not counted then (NVML ten times a second, the counters twice): valgrind makes a step 50 times as
long.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "programs"))

BASE = "PyTorch's recording"
ENTRIES = 200_000
"""Events kept: full before the steps that are timed."""
FORMS = ("off", BASE, "gpumemprof, no labels", "gpumemprof")


def calls_of(torch, model, step) -> int:
    """How many modules a step calls."""
    count = 0

    def counted(*_):
        nonlocal count
        count += 1

    handle = torch.nn.modules.module.register_module_forward_pre_hook(counted)
    step()
    handle.remove()
    return count


def counted(step, steps: int) -> None:
    """Has callgrind, in which this process runs, count the instructions of ``steps``; it prints them itself."""

    def control(*arguments: str) -> None:
        subprocess.run(["callgrind_control", *arguments, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)

    control("-i", "on")
    for _ in range(steps):
        step()
    control("-i", "off")
    print(f"counted {steps} steps", flush=True)
    # What the end of the process runs is none of it.
    os._exit(0)


def one(form: str, warm_up: int, steps: int, instructions: int) -> None:
    """Trains in this process, and prints what that took as JSON."""
    import torch
    from models import GPT, train_step

    model = GPT(layers=6).cuda()
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        train_step(model, optimizer)

    out: dict = {"torch": torch.__version__}
    if form == "off":
        for _ in range(3):
            step()
        out["calls"] = calls_of(torch, model, step)
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        step()
        out["allocations"] = torch.cuda.memory_stats()["allocation.all.allocated"] - before
    elif form == BASE:
        torch.cuda.memory._record_memory_history(stacks="python", max_entries=ENTRIES)
    else:
        import gpumemprof

        if instructions:
            from gpumemprof import _batches, _pulse

            _batches.LEAST_INTERVAL_S = _pulse.INTERVAL_S = _pulse.LEAST_INTERVAL_S = 1e6
        hz = 0 if instructions else 10
        gpumemprof.enable(tempfile.mkdtemp(), labels=form == "gpumemprof", max_entries=ENTRIES, sample_hz=hz)
    for _ in range(warm_up):
        step()
    if instructions:
        counted(step, instructions)
    times = []
    for _ in range(steps):
        begin = time.process_time()
        step()
        times.append((time.process_time() - begin) * 1e6)
    out["low"], out["middle"] = statistics.quantiles(times, n=20)[0], statistics.median(times)
    print(json.dumps(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200, help="steps timed in each process")
    parser.add_argument("--warm-up", type=int, default=400, help="steps before them")
    parser.add_argument("--form", choices=FORMS, help="only this one, in this process")
    parser.add_argument("--instructions", type=int, default=0, metavar="STEPS", help="count those of so many steps")
    options = parser.parse_args()
    if options.form:
        return one(options.form, options.warm_up, options.steps, options.instructions)
    rounds = []
    for _ in range(options.rounds):
        told = {}
        for form in FORMS:
            command = [sys.executable, __file__, "--form", form]
            command += ["--steps", str(options.steps), "--warm-up", str(options.warm_up)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            told[form] = json.loads(done.stdout.splitlines()[-1])
        rounds.append(told)
    off = rounds[0]["off"]
    allocations, calls = off["allocations"], off["calls"]
    print(f"torch {off['torch']}, {allocations} allocations and {calls} module calls per step:", end=" ")
    print(f"the aim is {1.0 * allocations + 3.0 * calls:.0f}\n")
    print("| form | 5th percentile | median | over PyTorch's (5th) | over PyTorch's (median) |")
    print("|---|--:|--:|--:|--:|")

    def over(form: str, base: str, figure: str) -> float:
        return statistics.median(told[form][figure] - told[base][figure] for told in rounds)

    for form in FORMS:
        columns = [statistics.median(told[form][figure] for told in rounds) for figure in ("low", "middle")]
        cells = [f"{column:,.0f}" for column in columns]
        is_ours = form.startswith("gpumemprof")
        cells += [f"{over(form, BASE, figure):,.0f}" if is_ours else "–" for figure in ("low", "middle")]
        print(f"| {form} | {' | '.join(cells)} |")
    print(f"\nPyTorch's own: {over(BASE, 'off', 'low') / allocations:.2f} µs per allocation")


if __name__ == "__main__":
    main()
