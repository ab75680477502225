"""A run in one file (``.gpumem``): its snapshots and sidecars, compressed.

It is a plain tar in gzip, so ``tar xzf`` gets the snapshots back byte for byte; ``gpumemprof`` and
its viewer open it as it is.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

from ._files import umask, write_whole
from ._native import Error
from ._snapshot import PathLike

ENDINGS = (".pickle", ".gpumemprof.json")
MOST_NAME_BYTES = 100
"""What a tar's header has room for (POSIX ustar)."""


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
    # `.` and `..` have no name of their own.
    named = source if source.name not in ("", "..") else source.resolve()
    name = Path(target) if target is not None else named.with_name(f"{named.name.removesuffix('.pickle')}.gpumem")

    def write(file: Any) -> None:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for path in order:
                    entry = tarfile.TarInfo(_short(path.name))
                    entry.size = path.stat().st_size
                    entry.mode = 0o644
                    with path.open("rb") as content:
                        archive.addfile(entry, content)

    try:
        write_whole(name, write)
    except ValueError as problem:
        raise Error(f"cannot pack {source}: {problem}") from problem
    return name


def _short(name: str) -> str:
    """``name``, or where a tar's header has no room for it a shorter one: the same for a snapshot and its
    sidecar."""
    if len(name.encode()) <= MOST_NAME_BYTES:
        return name
    ending = next(ending for ending in ENDINGS if name.endswith(ending))
    stem = name.removesuffix(ending)
    digest = hashlib.sha256(stem.encode()).hexdigest()[:16]
    return f"{stem.encode()[:48].decode(errors='ignore')}-{digest}{ending}"


def unpack(file: PathLike, folder: Any = None) -> list[Path]:
    """Unpacks into a folder, by default named after the file. Only plain files with plain names come
    out, and none replaces one that is there; if anything is wrong with the file, nothing comes out."""
    source = Path(file)
    target = Path(folder) if folder is not None else source.with_suffix("")
    if target == source:
        raise Error(f"{source} has no ending to leave out: say which folder it is to be unpacked into")
    was_there = target.is_dir()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except FileExistsError as problem:
        raise Error(f"{target} is a file: say which folder {source} is to be unpacked into") from problem
    parts: list[tuple[Path, Path]] = []
    done: list[Path] = []
    try:
        _extract(source, target, parts)
        for part, path in parts:
            os.rename(part, path)
            done.append(path)
    except BaseException as problem:
        for path in [part for part, _ in parts] + done:
            path.unlink(missing_ok=True)
        if not was_there:
            try:
                target.rmdir()
            except OSError:
                pass
        if isinstance(problem, (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)):
            raise Error(f"{source} is no packed run, or only a part of one: {problem}") from problem
        raise
    return done


def _extract(source: Path, target: Path, parts: list[tuple[Path, Path]]) -> None:
    """Writes what is packed in ``source`` under other names, which go into ``parts`` with the right ones."""
    with gzip.open(source) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
        for entry in archive:
            if not entry.isfile() or entry.name != os.path.basename(entry.name) or not entry.name.endswith(ENDINGS):
                raise Error(f"{source} is no packed run: it has {entry.name!r}")
            path = target / entry.name
            if path.exists() or path in [known for _, known in parts]:
                raise Error(f"{path} is there already: nothing was unpacked")
            content = archive.extractfile(entry) or io.BytesIO()
            descriptor, name = tempfile.mkstemp(prefix=".unpack.", dir=target)
            parts.append((Path(name), path))
            size = 0
            with os.fdopen(descriptor, "wb") as written:
                while block := content.read(1 << 20):
                    size += written.write(block)
            if size != entry.size:
                raise Error(f"{source} is only a part of a packed run: {entry.name} ends early")
            os.chmod(name, 0o666 & ~umask())
        # The end of the file says whether all of it is as it was written.
        while packed.read(1 << 20):
            pass
    if not parts:
        raise Error(f"{source} is no packed run: there is no snapshot in it")


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
