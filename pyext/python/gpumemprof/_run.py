"""``gpumemprof run``: records a program, its children and its ranks without a change to them.

The program runs with a folder first on ``PYTHONPATH`` whose ``sitecustomize`` enables recording when
PyTorch is imported. Children inherit it, so every rank of a launcher gets its own recording.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ._files import say
from ._options import Options
from ._schedule import Schedule

VARIABLE = "GPUMEMPROF_RUN"
"""The options of a run, as JSON, for its processes."""

BOOTSTRAP = Path(__file__).parent / "_bootstrap"


def parser() -> argparse.ArgumentParser:
    """The options of ``run``."""
    out = argparse.ArgumentParser(
        prog="gpumemprof run",
        usage="gpumemprof run [options] train.py [arguments ...]\n       gpumemprof run [options] -m module [arguments ...]\n       gpumemprof run [options] -- torchrun --nproc-per-node 8 train.py ...",
        description="Records a program, its children and its ranks; each gets its own folder.",
    )
    out.add_argument("--out", "-o", default=Options.out, help="where the folders go (default: %(default)s)")
    out.add_argument(
        "--max-entries",
        type=int,
        default=Options.max_entries,
        metavar="N",
        help="events kept, the newest (default: %(default)s, at 0.3 to 6 KB of host memory each, by the stacks' depth)",
    )
    out.add_argument(
        "--stacks",
        choices=["python", "all"],
        default="python",
        help="all: C++ frames too, at about twice the time per allocation",
    )
    out.add_argument("--steps", metavar="STEPS", help="record these steps only: 10, 10-20, 10-, 10-100/5 or /5")
    out.add_argument("--signal", metavar="NAME", help="a signal that writes a snapshot now, as USR1")
    out.add_argument(
        "--oom-budget",
        type=float,
        default=Options.oom_budget_s,
        metavar="SECONDS",
        help="how long an out-of-memory error may be held up (default: %(default)s)",
    )
    out.add_argument(
        "--sample-hz",
        type=float,
        default=Options.sample_hz,
        metavar="HZ",
        help="how often NVML is asked; 0: never (default: %(default)s)",
    )
    out.add_argument(
        "--lean", action="store_true", help="do not record the requests of frees, a third of all events (PyTorch 2.11)"
    )
    out.add_argument(
        "--prometheus",
        metavar="[ADDR:]PORT",
        help="serve the devices and processes as metrics (default address: 127.0.0.1)",
    )
    out.add_argument("--no-labels", action="store_true", help="do not label allocations with module, phase and step")
    out.add_argument("--no-report", action="store_true", help="no HTML report after an out-of-memory error")
    out.add_argument("--no-exit-snapshot", action="store_true", help="no snapshot when the program ends")
    out.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="module",
        help="a module to run as Python's -m does, with its arguments",
    )
    out.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="train.py | -- command",
        help="a Python script, or after -- any command",
    )
    return out


def main(arguments: list[str]) -> int:
    """Replaces this process by the program; returns an exit code only if that fails."""
    parse = parser()
    options = parse.parse_args(arguments)
    command: list[str] = ["-m", *options.module] if options.module else options.command
    is_script = command[:1] != ["--"]
    if not is_script:
        command = command[1:]
    if not command:
        parse.error("no program given")
    given = {
        "out": os.path.abspath(options.out),
        "max_entries": options.max_entries,
        "stacks": options.stacks,
        "signal": options.signal,
        "oom_budget_s": options.oom_budget,
        "sample_hz": options.sample_hz,
        "labels": not options.no_labels,
        "prometheus": options.prometheus,
        "skip_actions": "lean" if options.lean else None,
        "report": not options.no_report,
    }
    try:
        # Refused here, not in each of the program's processes.
        Options.of(given)
        if options.steps:
            Schedule.parse(options.steps)
    except ValueError as problem:
        parse.error(str(problem))
    if is_script:
        # A file ending in .py, or -m module: run by this interpreter.
        command = [sys.executable, *command]
    given.update(steps=options.steps, exit_snapshot=not options.no_exit_snapshot)
    environment = prepared(dict(os.environ), given)
    program = shutil.which(command[0])
    if program is None:
        say(f"cannot find {command[0]!r}; a Python script is given without --, any other command after it")
        return 127
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, command, environment)
    except OSError as problem:
        say(f"cannot run {program}: {problem}")
        return 126


def prepared(environment: dict[str, str], options: dict[str, Any]) -> dict[str, str]:
    """``environment`` with what makes its Python processes record."""
    package = str(Path(__file__).parent.parent)
    paths = [str(BOOTSTRAP), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment[VARIABLE] = json.dumps({**options, "package": package})
    return environment


def begin(options: dict[str, Any]) -> None:
    """Called in the program once PyTorch is imported. Never raises."""
    try:
        from . import _recorder
        from ._profile import enable

        given = {name: value for name, value in options.items() if name not in ("package", "steps", "exit_snapshot")}
        steps = options.get("steps")
        is_on = enable(**given, schedule=Schedule.parse(steps) if steps else None)
        if is_on and options["exit_snapshot"]:
            _recorder.exit_hooks.append(_snapshot_at_exit)
    except Exception as problem:
        say(f"not recording: {type(problem).__name__}: {problem}")


def _snapshot_at_exit(recorder: Any) -> None:
    if recorder.is_recording and recorder.found.torch.cuda.is_initialized():
        say(f"snapshot: {recorder.dump('exit')}")
