"""Reports in a headless browser: what is opened, and how."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
import snapshots
from playwright.sync_api import Page, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def binary() -> pathlib.Path:
    """The command under test: GPUMEMPROF_BIN, else the newest build."""
    named = os.environ.get("GPUMEMPROF_BIN")
    if named:
        return pathlib.Path(named)
    builds = [ROOT / "target" / profile / "gpumemprof" for profile in ("debug", "release")]
    built = [build for build in builds if build.exists()]
    if not built:
        pytest.skip("skipped: no gpumemprof binary; build it with `cargo build`")
    return max(built, key=lambda build: build.stat().st_mtime)


def chromium() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("skipped: no Chromium; on Debian `apt-get install chromium`")
    return found


@pytest.fixture(scope="session")
def write_report(tmp_path_factory):
    """Writes the report of a snapshot given as Python objects, with its sidecar if there is one; returns its path."""

    def write(name: str, snapshot: object, *flags: str, sidecar: object = None) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(name)
        source = folder / f"{name}.pickle"
        source.write_bytes(snapshots.dump(snapshot))
        if sidecar is not None:
            (folder / f"{name}.gpumemprof.json").write_text(json.dumps(sidecar))
        out = folder / f"{name}.html"
        command = [str(binary()), "report", str(source), "-o", str(out), *flags]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return out

    return write


@pytest.fixture(scope="session")
def oom_report(write_report) -> pathlib.Path:
    return write_report("training", snapshots.training())


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


class Opened:
    """A page with everything it said and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _heard(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, report: pathlib.Path) -> Page:
        self.page.goto(report.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Waits until what was asked to be drawn has been drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture
def opened(browser):
    contexts = []

    def make(width: int = 1280, height: int = 720, theme: str = "light") -> Opened:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        contexts.append(context)
        return Opened(context.new_page())

    yield make
    for context in contexts:
        context.close()
