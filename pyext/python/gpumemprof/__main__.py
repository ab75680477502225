"""``python -m gpumemprof`` and the console script: the Rust command, with ``run``, ``pack`` and ``unpack`` added."""

from __future__ import annotations

import os
import sys
import sysconfig

from . import _native


def main() -> int:
    """Runs the command line; returns the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        from ._run import main as run

        return run(arguments[1:])
    if arguments[:1] in (["pack"], ["unpack"]):
        from ._pack import main as pack

        return pack(arguments)
    if arguments[:1] == ["view"]:
        # The environment's own programs come first, also where it is not active.
        os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    return _native.run_command(["gpumemprof", *arguments])


if __name__ == "__main__":
    sys.exit(main())
