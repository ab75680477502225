"""A run in one file (``.gpumem``): its snapshots and sidecars, compressed.

It is a plain tar in gzip, so ``tar xzf`` gets the snapshots back byte for byte; ``gpumemprof`` and
its viewer open it as it is.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

from ._files import write_whole
from ._native import Error
from ._snapshot import PathLike

ENDINGS = (".pickle", ".gpumemprof.json")


def pack(folder: PathLike, target: Any = None) -> Path:
    """Packs a run's folder, or one snapshot with its sidecar. Returns where; by default beside it.

    The snapshot of an out-of-memory error comes first, else the newest: that is the one commands
    open. The same folder gives the same bytes.
    """
    source = Path(folder)
    if source.is_dir():
        files = [path for path in sorted(source.iterdir()) if path.name.endswith(ENDINGS) and path.is_file()]
    else:
        sidecar = source.with_suffix(".gpumemprof.json")
        files = [path for path in (source, sidecar) if path.is_file()]
    snapshots = [path for path in files if path.name.endswith(".pickle")]
    if not snapshots:
        raise Error(f"{source} has no snapshot (.pickle) to pack")
    snapshots.sort(key=lambda path: (not path.name.startswith("oom"), -path.stat().st_mtime_ns, path.name))
    order = snapshots + [path for path in files if path not in snapshots]
    name = Path(target) if target is not None else source.with_name(f"{source.name.removesuffix('.pickle')}.gpumem")

    def write(file: Any) -> None:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for path in order:
                    entry = tarfile.TarInfo(path.name)
                    entry.size = path.stat().st_size
                    entry.mode = 0o644
                    with path.open("rb") as content:
                        archive.addfile(entry, content)

    write_whole(name, write)
    return name


def unpack(file: PathLike, folder: Any = None) -> list[Path]:
    """Unpacks into a folder, by default named after the file. Only plain files with plain names come
    out, and none replaces one that is there."""
    source = Path(file)
    target = Path(folder) if folder is not None else source.with_suffix("")
    target.mkdir(parents=True, exist_ok=True)
    out = []
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            for entry in archive:
                if not entry.isfile() or entry.name != os.path.basename(entry.name) or not entry.name.endswith(ENDINGS):
                    raise Error(f"{source} is no packed run: it has {entry.name!r}")
                path = target / entry.name
                content = archive.extractfile(entry) or io.BytesIO()
                with path.open("xb") as written:
                    while block := content.read(1 << 20):
                        written.write(block)
                out.append(path)
    except tarfile.TarError as problem:
        raise Error(f"{source} is no packed run: {problem}") from problem
    return out


def main(arguments: list[str]) -> int:
    """``gpumemprof pack`` and ``gpumemprof unpack``."""
    verb, *rest = arguments
    parser = argparse.ArgumentParser(
        prog=f"gpumemprof {verb}",
        description="Packs a run's folder into one .gpumem file."
        if verb == "pack"
        else "Gets a packed run's files back.",
    )
    parser.add_argument("source", help="a run's folder or a snapshot" if verb == "pack" else "a .gpumem file")
    parser.add_argument("--output", "-o", help="where to")
    options = parser.parse_args(rest)
    try:
        if verb == "pack":
            print(pack(options.source, options.output))
        else:
            for path in unpack(options.source, options.output):
                print(path)
    except (Error, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0
