"""Checks the documents: every relative link and picture exists, every `make` target too."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"`make ([a-z-]+)`")


def documents() -> list[Path]:
    """Every Markdown file of the project, in order."""
    skipped = {"target", ".venv", "node_modules", "out"}
    found = ROOT.rglob("*.md")
    return sorted(p for p in found if not skipped & set(p.relative_to(ROOT).parts))


def problems(document: Path) -> list[str]:
    """What is wrong with one document."""
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    out = []
    for link in LINK.findall(text):
        if "://" not in link and not (document.parent / link).exists():
            out.append(f"{document.relative_to(ROOT)}: link to {link}, which is not there")
    for target in MAKE.findall(text):
        if target not in targets:
            out.append(f"{document.relative_to(ROOT)}: `make {target}` is not in the Makefile")
    return out


def main() -> int:
    """Prints what is wrong; 1 if anything is."""
    found = [problem for document in documents() for problem in problems(document)]
    print("\n".join(found) or f"{len(documents())} documents: links and commands are there")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
