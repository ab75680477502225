"""The viewer's web page in a headless browser: it starts, asks nobody for anything, and draws.

`make web` builds the page and runs this; without the page there is nothing to test.
"""

import os
import pathlib

import pytest
from conftest import CHROMIUM_ARGUMENTS, ROOT, chromium
from playwright.sync_api import sync_playwright

PAGE = pathlib.Path(os.environ.get("GPUMEMPROF_VIEWER_PAGE", ROOT / "out" / "gpumemprof-viewer.html"))
SAMPLE = ROOT / "samples" / "oom-variable-length.pickle"


def colours(png: bytes, page) -> int:
    """How many colours a picture has."""
    return page.evaluate(
        """async bytes => {
            const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const {data} = context.getImageData(0, 0, image.width, image.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }""",
        list(png),
    )


@pytest.mark.skipif(not PAGE.exists(), reason="skipped: no viewer page; build it with `make web`")
def test_the_page_opens_files_and_asks_nobody(tmp_path):
    arguments = [argument for argument in CHROMIUM_ARGUMENTS if argument != "--disable-gpu"]
    arguments += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(PAGE.as_uri())
        page.wait_for_selector("#state", state="detached", timeout=60_000)
        page.wait_for_timeout(1000)
        empty = page.screenshot()
        page.set_input_files("#files", SAMPLE)
        page.wait_for_timeout(4000)
        opened = page.screenshot(path=os.environ.get("GPUMEMPROF_SCREENSHOT") or tmp_path / "page.png")
        foreign = [url for url in requests if not url.startswith((PAGE.as_uri(), "data:", "blob:"))]
        blank = browser.new_page()
        before, after = colours(empty, blank), colours(opened, blank)
        browser.close()
    assert foreign == []
    assert errors == []
    assert after > before + 50, "the timeline has many colours"
