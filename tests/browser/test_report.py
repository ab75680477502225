"""The report as people use it."""

import re
import subprocess
import time

import pytest
import snapshots
from playwright.sync_api import expect

CENTRE = {"x": 640, "y": 200}


def visible(page) -> tuple[float, float]:
    data = page.locator("#timeline").evaluate("(canvas) => [canvas.dataset.from, canvas.dataset.to]")
    return float(data[0]), float(data[1])


def moment(page) -> int:
    return int(page.locator("#timeline").get_attribute("data-moment"))


def until(session, read, holds, seconds: float = 10):
    """What `read` gives of the page once `holds` accepts it: input reaches a page when the browser has time for it."""
    deadline = time.monotonic() + seconds
    while True:
        session.settle()
        value = read(session.page)
        if holds(value):
            return value
        assert time.monotonic() < deadline, f"after {seconds} s the page is still at {value}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width,height", [(1280, 720), (2560, 1440)])
def test_opens_without_an_error_or_a_request(opened, oom_report, width, height, theme):
    session = opened(width, height, theme)
    page = session.open(oom_report)
    assert session.errors == []
    assert session.requests == [oom_report.as_uri()]
    overflow = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0, "the page scrolls sideways"
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    red = int(re.search(r"\d+", background).group())
    assert (red > 128) == (theme == "light")


def test_the_verdict_comes_first(opened, oom_report):
    page = opened().open(oom_report)
    first = page.locator("main > section").first
    assert first.get_attribute("id") == "summary"
    assert "400.00 MiB" in first.locator(".lead").first.inner_text()
    assert first.locator(".advice li").count() > 0


def test_the_wheel_zooms_and_a_drag_pans(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator("#timeline").scroll_into_view_if_needed()
    box = page.locator("#timeline").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    before = visible(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    zoomed = until(session, visible, lambda now: before[0] < now[0] and now[1] < before[1])
    page.mouse.down()
    page.mouse.move(x + 120, y, steps=4)
    page.mouse.up()
    panned = until(session, visible, lambda now: now[0] < zoomed[0])
    assert panned[1] - panned[0] == pytest.approx(zoomed[1] - zoomed[0])


def test_keys_pan_zoom_and_jump(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator("#timeline").focus()
    full = visible(page)
    page.keyboard.press("ArrowUp")
    zoomed = until(session, visible, lambda now: now[1] - now[0] < full[1] - full[0])
    page.keyboard.press("ArrowRight")
    until(session, visible, lambda now: now[0] > zoomed[0])
    chosen = moment(page)
    page.keyboard.press("[")
    before = until(session, moment, lambda now: now != chosen)
    page.keyboard.press("p")
    peak = until(session, moment, lambda now: now != before)
    page.keyboard.press("[")
    until(session, moment, lambda now: now == peak - 1)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_the_axis_turns_to_wall_clock(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator("#axis").click()
    session.settle()
    expect(page.locator("#timeline-range")).to_contain_text("from the start")
    start, end = visible(page)
    # 2 × 12 layers, alloc and two frees each, and 3 more events, 250 µs apart.
    assert (start, end) == (0, (2 * 12 * 3 + 3 - 1) * 250)


def test_the_pointer_shows_who_holds_what(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator("#timeline").scroll_into_view_if_needed()
    box = page.locator("#timeline").bounding_box()
    # Near the right edge only the 64 MiB block is left, at the bottom.
    page.mouse.move(box["x"] + box["width"] - 18, box["y"] + box["height"] - 60)
    tip = page.locator("#tip")
    expect(tip).to_contain_text("64.00 MiB")
    expect(tip).to_contain_text("keep_everything")


def test_a_chosen_moment_changes_the_panels(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator(".jump-peak").click()
    session.settle()
    expect(page.locator("#flame")).to_contain_text("layer_11")
    # 64 + (1 + 2 + … + 12) MiB.
    expect(page.locator("#layers-total")).to_contain_text("142.00 MiB")
    page.locator(".jump-end").click()
    session.settle()
    expect(page.locator("#flame")).not_to_contain_text("layer_11")
    expect(page.locator("#flame")).to_contain_text("keep_everything")
    expect(page.locator("#layers-total")).to_contain_text("64.00 MiB")
    expect(page.locator("#parts-rows tr").first).to_contain_text("64.00 MiB")


def test_a_click_on_the_timeline_chooses_its_moment(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator("#timeline").scroll_into_view_if_needed()
    box = page.locator("#timeline").bounding_box()
    before = moment(page)
    page.mouse.click(box["x"] + 300, box["y"] + 150)
    chosen = until(session, moment, lambda now: now != before)
    expect(page.locator("#flame-moment")).to_contain_text(f"after event {chosen - 1} of")


def test_the_flame_graph_zooms_and_searches(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    page.locator("#flame-search").fill("keep_everything")
    expect(page.locator(".flame-node.is-match")).to_have_count(1)
    expect(page.locator("#flame-found")).to_contain_text("64.00 MiB")
    page.locator(".flame-node.is-match").click()
    expect(page.locator("#flame-reset")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#flame-reset")).to_be_hidden()


def test_the_search_finds(opened, oom_report):
    page = opened().open(oom_report)
    page.locator("#table-search").fill("LAYER_7")
    rows = page.locator("#table-rows tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("8.00 MiB")
    page.locator("#table-live").uncheck()
    expect(rows).to_have_count(2)
    page.locator("#table-search").fill("no such thing")
    expect(rows).to_have_count(0)


def test_the_table_sorts(opened, oom_report):
    page = opened().open(oom_report)
    sizes = page.locator("#table-rows td:first-child button")
    expect(sizes.first).to_have_text(re.compile(r"^64\.00"))
    page.locator("#table th[data-sort=size] button").click()
    expect(sizes.first).to_have_text(re.compile(r"^1\.00"))
    expect(page.locator("#table th[data-sort=size]")).to_have_attribute("aria-sort", "ascending")


def test_a_row_opens_its_stack(opened, oom_report):
    page = opened().open(oom_report)
    page.locator("#table-rows button").first.click()
    expect(page.locator("#table-rows tr.detail")).to_contain_text("train.py:12")


def test_text_from_the_file_stays_text(opened, write_report):
    report = write_report("hostile", snapshots.training(3, snapshots.HOSTILE))
    session = opened()
    page = session.open(report)
    session.settle()
    page.locator("#table-search").fill("onerror")
    expect(page.locator("#table-rows tr")).to_have_count(3)
    expect(page.locator("img")).to_have_count(0)
    assert "owned" not in page.title()
    assert "<img src=x" in page.locator("#flame").inner_text()
    assert session.errors == [] and len(session.requests) == 1


@pytest.mark.parametrize("width,height", [(1280, 720), (2560, 1440)])
def test_a_recorded_run_is_told(opened, write_report, width, height):
    snapshot = snapshots.training()
    report = write_report("recorded", snapshot, sidecar=snapshots.sidecar(snapshot))
    session = opened(width, height)
    page = session.open(report)
    told = page.locator("#summary .told").first
    expect(told).to_be_visible()
    rows = {row.locator("th").inner_text(): row.locator("td").inner_text() for row in told.locator("tr").all()}
    assert rows == {
        "line": "/home/alice/project/model.py:77 too_much",
        "layer": "blocks.3.attn",
        "phase": "forward",
        "step": "7",
        "batch": "(8, 4096)int64",
        "since the last step": (
            "step 6: its batch was (8, 512)int64; 64.00 MiB allocated at its start, 65.00 MiB at the start of this one"
        ),
        "outcome": "recovered: the program went on; 2 such errors in this process",
    }
    stack = page.locator("#summary details.told-stack")
    expect(stack.locator("li").first).to_be_hidden()
    stack.locator("summary").click()
    expect(stack.locator("li")).to_have_text(
        ["/home/alice/project/model.py:77 too_much", "/home/alice/project/train.py:12 train"]
    )
    run = page.locator("#run")
    for text in (
        "trainer-node-17",
        "4711",
        "PyTorch 2.15.0+cu132, CUDA 13.2, Python 3.12.4, gpumemprof 0.9.0",
        "--token=hunter2",
        "NVIDIA H100 80GB HBM3, 79.65 GiB",
        "max_split_size_mb:128",
    ):
        expect(run).to_contain_text(text)
    overflow = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0, "the page scrolls sideways"
    assert session.errors == []


def test_what_a_recorder_tells_stays_text_and_can_be_redacted(opened, write_report):
    snapshot = snapshots.training(3)
    hostile = snapshots.sidecar(snapshot, snapshots.HOSTILE)
    hostile["run"]["environment"]["RANK"] = snapshots.HOSTILE
    session = opened()
    page = session.open(write_report("told-hostile", snapshot, sidecar=hostile))
    assert "<img src=x" in page.locator("#summary .told").first.inner_text()
    expect(page.locator("img")).to_have_count(0)
    assert "owned" not in page.title() and session.errors == [] and len(session.requests) == 1
    redacted = write_report("told-redacted", snapshot, "--redact", sidecar=snapshots.sidecar(snapshot))
    text = redacted.read_text()
    for leak in ("trainer-node-17", "hunter2", "alice", "/home"):
        assert leak not in text, leak
    assert "train.py and 2 arguments, hidden" in text


def test_the_sidecar_of_another_snapshot_is_not_used(opened, write_report):
    snapshot = snapshots.training()
    other = snapshots.sidecar(snapshot)
    other["ends"][0]["events"] += 1
    page = opened().open(write_report("told-other", snapshot, sidecar=other))
    expect(page.locator("#run")).to_have_count(0)
    expect(page.locator("#warnings")).to_contain_text("belongs to another one")


@pytest.fixture(scope="session")
def what_if_report(write_report):
    return write_report("stranding", snapshots.stranding())


def test_what_if_gives_the_line_to_paste_and_its_evidence(opened, what_if_report):
    session = opened()
    page = session.open(what_if_report)
    section = page.locator("#what-if")
    assert section.locator(".paste").inner_text() == "export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    # 18 MiB kept and 18 MiB asked for; the device had the two segments.
    assert "36.00 MiB" in section.locator(".what-if-bracket tr").first.inner_text()
    best = section.locator("tr.is-best").inner_text()
    assert "40.00 MiB" in best and "runs" in best
    recorded = section.locator(".what-if-settings tr", has_text="recorded").inner_text()
    assert "58.00 MiB" in recorded and "out of memory at event" in recorded
    assert "Fidelity 100 %" in section.inner_text()
    assert session.errors == []


def test_what_if_draws_the_chosen_setting(opened, what_if_report):
    session = opened()
    page = session.open(what_if_report)
    assert page.locator("#what-if-name").inner_text() == "expandable_segments:True"
    pixels = "(id) => document.getElementById(id).toDataURL()"
    curves = page.evaluate(pixels, "what-if-curves")
    assert page.evaluate(pixels, "what-if-recorded") != page.evaluate(pixels, "what-if-simulated")
    page.locator("#what-if input[type=radio]:checked").focus()
    page.keyboard.press("ArrowDown")
    session.settle()
    assert page.locator("#what-if-name").inner_text() != "expandable_segments:True"
    page.locator(".what-if-settings tr", has_text="recorded").locator("input").check()
    session.settle()
    assert page.locator("#what-if-name").inner_text() == "(defaults)"
    assert page.evaluate(pixels, "what-if-curves") != curves
    # The request that failed has its place in the simulated map.
    assert page.locator("#what-if-failed").is_visible()
    assert "40.00 MiB reserved" in page.locator("#what-if-simulated-title").inner_text()


def test_what_if_reads_its_curves_by_key(opened, what_if_report):
    session = opened()
    page = session.open(what_if_report)
    page.locator("#what-if-curves").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    session.settle()
    # After event 4, the third of the blocks.
    reading = page.locator("#what-if-reading").inner_text()
    assert "recorded 40.00 MiB reserved, 27.00 MiB requested" in reading, reading
    assert "simulated " in reading
    assert session.errors == []


def test_what_the_model_does_not_explain_is_not_simulated(opened, oom_report):
    session = opened()
    section = session.open(oom_report).locator("#what-if")
    assert "Not simulated" in section.inner_text()
    assert "first differ at event" in section.inner_text()
    assert section.locator("table, .paste").count() == 0
    assert not section.locator("#what-if-drawings").is_visible()


def test_the_theme_button_switches(opened, oom_report):
    session = opened()
    page = session.open(oom_report)
    colour = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.locator("#theme").click()
    session.settle()
    expect(page.locator("body")).not_to_have_css("background-color", light)
    assert session.errors == []


def test_it_prints(opened, oom_report):
    page = opened().open(oom_report)
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000


def test_an_empty_file_says_so(opened, write_report):
    session = opened()
    page = session.open(write_report("empty", snapshots.empty()))
    assert "Nothing was recorded" in page.locator("#summary").inner_text()
    assert session.errors == []


def test_each_device_has_its_page(opened, write_report):
    session = opened()
    page = session.open(write_report("devices", snapshots.two_devices()))
    page.locator("#device").select_option("1")
    session.settle()
    page.locator(".jump-peak").click()
    session.settle()
    # 64 + (1 + 2 + 3 + 4) MiB.
    expect(page.locator("#layers-total")).to_contain_text("74.00 MiB")
    assert session.errors == []


def test_a_redacted_report_names_nobody(write_report):
    report = write_report("redacted", snapshots.training(), "--redact").read_text()
    assert "alice" not in report and "/home" not in report
    assert "model.py" in report


def test_the_same_file_gives_the_same_bytes(write_report):
    again = [write_report("same", snapshots.training(5)).read_bytes() for _ in range(2)]
    assert again[0] == again[1]


def test_a_bad_file_is_an_error(tmp_path):
    from conftest import binary

    bad = tmp_path / "bad.pickle"
    bad.write_bytes(b"not a snapshot")
    result = subprocess.run([str(binary()), "report", str(bad)], capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr
    assert not (tmp_path / "bad.pickle.html").exists()
