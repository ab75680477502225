"""The build backend of the Python package: maturin's, with the viewer's program added to wheels.

``pip install ./pyext`` thus brings ``gpumemprof view``. What ``GPUMEMPROF_VIEWER`` says decides:

========  ==========================================================================
``auto``  build the viewer; where that fails, say so and go on without it: the default
``yes``   build the viewer; where that fails, the package's build fails
``no``    leave it out (it is most of the time a build takes): the default of editable installs
========  ==========================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import maturin
from maturin import (  # noqa: F401  (the hooks that need nothing added)
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

CRATE = "gpumemprof-viewer"
CHOICE = "GPUMEMPROF_VIEWER"

# What lies here, beside pyproject.toml, maturin puts among the programs of the environment that the wheel is
# installed in. Frontends call the hooks in that folder (PEP 517).
DATA = Path("gpumemprof._native.data")


class NoViewer(Exception):
    """Why the viewer could not be built."""


def build_wheel(
    wheel_directory: str, config_settings: dict | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 517's hook: the wheel's file name."""
    with _programs(config_settings, "auto"):
        return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: dict | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 660's hook: the wheel's file name."""
    with _programs(config_settings, "no"):
        return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


@contextlib.contextmanager
def _programs(config_settings: dict | None, default: str) -> Iterator[None]:
    """The viewer lies where maturin takes it from, if it is wanted and can be built."""
    choice = os.environ.get(CHOICE) or default
    if choice not in ("auto", "yes", "no"):
        _stop(f"{CHOICE}={choice}: expected auto, yes or no")
    # A build that was killed leaves it behind.
    shutil.rmtree(DATA, ignore_errors=True)
    try:
        if choice != "no":
            try:
                built = _built(maturin.get_maturin_pep517_args(config_settings))
                scripts = DATA / "scripts"
                scripts.mkdir(parents=True)
                _install(built, scripts / built.name)
            except (NoViewer, OSError) as problem:
                if choice == "yes":
                    _stop(f"the viewer could not be built: {problem}")
                shutil.rmtree(DATA, ignore_errors=True)
                _say(
                    f"WITHOUT THE VIEWER, which could not be built: {problem}. All else works; `gpumemprof view` "
                    "will say how to get the viewer, and `gpumemprof report` writes a page for any browser."
                )
        yield
    finally:
        shutil.rmtree(DATA, ignore_errors=True)


def _built(arguments: list[str]) -> Path:
    """Builds the viewer as maturin's ``arguments`` have the native half built; the path of the program."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--target")
    parser.add_argument("--locked", action="store_true")
    parser.add_argument("--offline", action="store_true")
    like, _ = parser.parse_known_args(arguments)
    command = ["cargo", "build", "--package", CRATE, "--bin", CRATE, "--profile", like.profile]
    command += ["--target", like.target] if like.target else []
    command += [flag for flag in ("--locked", "--offline") if getattr(like, flag[2:])]
    command += ["--message-format", "json-render-diagnostics"]
    _say(f"building the viewer, some minutes ({CHOICE}=no leaves it out): {' '.join(command)}")
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise NoViewer(f"`{' '.join(command)}` ended with {done.returncode}, what it said is above")
    # Cargo says where the program is: the target folder and its layout are the user's to configure.
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == CRATE:
            return Path(message["executable"])
    raise NoViewer(f"`{' '.join(command)}` named no program")


def _install(built: Path, place: Path) -> None:
    """Copies the program, without its line tables where there is a tool to strip them."""
    shutil.copyfile(built, place)
    place.chmod(0o755)
    if strip := shutil.which("strip"):
        # A strip that does not know the target's format leaves the file as it is.
        subprocess.run([strip, place], check=False)


def _say(message: str) -> None:
    # Frontends take standard output for the backend's own; pip shows either with -v.
    print(f"gpumemprof: {message}", file=sys.stderr, flush=True)


def _stop(message: str) -> NoReturn:
    _say(message)
    sys.exit(1)
