#!/usr/bin/env python3
"""Runs a program on the simulated CUDA device: `simgpu/run.py --capacity 24GiB -- python train.py`.

Nothing is built and nothing is installed: the environment is set, and the program replaces this one (so
signals, exit code and process id are its own). `cargo build -p simgpu` makes the library beforehand.
Other Python programs can import `environment` and start processes themselves.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The names under which PyTorch 2.6.0 (CUDA 12.4) and 2.15.0 (CUDA 13.2) ask the loader for NVIDIA's
# libraries (`readelf -d torch/lib/*.so`), and NVML, which is opened by name. All are the one library.
NAMES = [
    "libcublas.so.12",
    "libcublas.so.13",
    "libcublasLt.so.12",
    "libcublasLt.so.13",
    "libcuda.so.1",
    "libcudart.so.12",
    "libcudart.so.13",
    "libcudnn.so.9",
    "libcufft.so.11",
    "libcufft.so.12",
    "libcufile.so.0",
    "libcupti.so.12",
    "libcupti.so.13",
    "libcurand.so.10",
    "libcusolver.so.11",
    "libcusolver.so.12",
    "libcusparse.so.12",
    "libcusparseLt.so.0",
    "libnccl.so.2",
    "libnvidia-ml.so.1",
    "libnvrtc.so.12",
    "libnvrtc.so.13",
    "libnvshmem_host.so.3",
]

# Option → environment variable that the library reads.
SETTINGS = {
    "model": "SIMGPU_MODEL",
    "devices": "SIMGPU_DEVICES",
    "capacity": "SIMGPU_CAPACITY",
    "context": "SIMGPU_CONTEXT",
    "reserved": "SIMGPU_RESERVED",
    "others": "SIMGPU_OTHERS",
    "pending": "SIMGPU_PENDING",
    "nvml_fault": "SIMGPU_NVML_FAULT",
    "pid_offset": "SIMGPU_PID_OFFSET",
    "mig": "SIMGPU_MIG",
    "state": "SIMGPU_STATE",
}


def library() -> Path:
    """The built library: `SIMGPU_LIB`, or the newer of the release and the debug build."""
    if named := os.environ.get("SIMGPU_LIB"):
        return Path(named).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for profile in ("release", "debug") if (path := target / profile / "libsimgpu.so").exists()]
    if not built:
        raise FileNotFoundError(f"no libsimgpu.so under {target}: run `cargo build -p simgpu` first")
    return max(built, key=lambda path: path.stat().st_mtime)


def names_folder(lib: Path) -> Path:
    """A folder beside the library with a link to it under each of NVIDIA's names."""
    folder = lib.parent / "simgpu-names"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        try:
            (folder / name).symlink_to(os.path.join("..", lib.name))
        except FileExistsError:
            pass
    return folder


def environment(base: dict[str, str] | None = None, **settings: object) -> dict[str, str]:
    """The environment (`os.environ` or `base`) in which programs see the simulated device.

    `settings` are the options of the command line: model, devices, capacity, context, reserved, others,
    pending, nvml_fault, pid_offset, mig, state. Processes that are to share devices need the same `state` file.
    """
    env = dict(os.environ if base is None else base)
    lib = library()
    env["LD_PRELOAD"] = ":".join(filter(None, [str(lib), env.get("LD_PRELOAD")]))
    env["LD_LIBRARY_PATH"] = ":".join(filter(None, [str(names_folder(lib)), env.get("LD_LIBRARY_PATH")]))
    for option, value in settings.items():
        if value is not None:
            env[SETTINGS[option]] = str(value)
    return env


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], usage="%(prog)s [options] -- COMMAND ...")
    parser.add_argument("--model", help="h100 (default), h200, a100-40, a100-80, l4, rtx4090")
    parser.add_argument("--devices", type=int, help="boards, 1 to 8 (default 1)")
    parser.add_argument("--capacity", help="memory of each board, as in 24GiB (default: the model's)")
    parser.add_argument("--context", help="memory each process holds beyond its allocations (default 0)")
    parser.add_argument(
        "--reserved",
        help="memory the driver keeps: in NVML's total, usable by none (default 0)",
    )
    parser.add_argument("--others", help="processes outside the simulation: [DEVICE/]PID=SIZE,...")
    parser.add_argument(
        "--pending",
        type=int,
        help="queries a recorded event answers with 'not ready' (default 0)",
    )
    parser.add_argument(
        "--nvml-fault",
        help="a list of no-driver, no-permission, lost, lost-after=N, no-process-memory, memory-v1, processes-v1, processes-v2",
    )
    parser.add_argument("--pid-offset", type=int, help="added to process ids in NVML's lists, as a container sees them")
    parser.add_argument("--mig", help="the memory of each board's MIG instances, as in 10GiB,20GiB (default: off)")
    parser.add_argument(
        "--state",
        help="counters file shared with other launches (default: one of this launch)",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments")
    options = vars(parser.parse_args())
    command = options.pop("command")
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        parser.error("no command given")
    if options["state"] is None and "SIMGPU_STATE" not in os.environ:
        # Memory that lives as long as the program and that its children find by its process id.
        descriptor = os.memfd_create("simgpu-state", 0)
        os.set_inheritable(descriptor, True)
        options["state"] = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        env = environment(**options)
        os.execvpe(command[0], command, env)
    except OSError as problem:
        sys.exit(f"simgpu: {problem}")


if __name__ == "__main__":
    main()
