"""Parts of the recorder that need neither PyTorch nor a device."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time

import gpumemprof
import pytest
from conftest import PACKAGE


class Thing:
    """Stands for an optimizer, or a module."""

    def __init__(self, **parts):
        self._modules = parts

    def modules(self):
        yield self
        for part in self._modules.values():
            yield from part.modules()


def steps_of(*events, expected=()):
    """In which step each event lies: an optimizer that steps, one within a backward pass, or None, a forward."""
    from gpumemprof._cycle import Cycle

    cycle, step, out = Cycle(), 0, []
    cycle.expect(expected)
    for event in events:
        if event is None:
            if cycle.is_over:
                step += 1
                cycle.begin()
        else:
            optimizer, is_in_backward = event if isinstance(event, tuple) else (event, False)
            step += cycle.note(optimizer, is_in_backward)
        out.append(step)
    return out


def test_a_step_ends_when_all_optimizers_have_stepped():
    a, b = Thing(), Thing()
    assert steps_of(None, a, None, a, None, None, a) == [0, 0, 1, 1, 2, 2, 2]
    # A GAN: one step an iteration where both are given, else one more until both are known.
    iteration = (None, a, None, b)
    assert steps_of(*iteration * 3, expected=(a, b)) == [0] * 4 + [1] * 4 + [2] * 4
    assert steps_of(*iteration * 3) == [0, 0, 1, 1] + [2] * 4 + [3] * 4
    # Two after one backward pass.
    assert steps_of(*(None, a, b) * 3) == [0] * 3 + [1] * 3 + [2] * 3
    # One that is given and never steps, or only now and then, is not waited for.
    assert steps_of(*(None, a) * 4, expected=(a, b)) == [0, 0, 0, 1, 2, 2, 3, 3]
    assert steps_of(*(None, a) * 2, None, b, *(None, a) * 2, expected=(a,))[-5:] == [2, 2, 2, 3, 3]
    # An optimizer for each parameter, some of which have no gradient now and then.
    c, within = Thing(), [(a, True), (b, True)]
    assert steps_of(None, *within, (c, True), None, *within, None, *within) == [0] * 4 + [1] * 3 + [2] * 3


def test_modules_that_are_gone_are_forgotten():
    from gpumemprof._names import Names

    names = Names()
    model = Thing(a=Thing())
    names.add_root(model)
    for _ in range(50):
        names.find(Thing(), None)
    assert len(names.roots) <= 2 and len(names.records) == 2 and names.models() == [model]
    assert names.records[id(model._modules["a"])].name == "a"


def entries(*addresses):
    return [(0, address, "gradient", f"w{address}") for address in addresses]


def test_walks_are_written_once_and_only_those_that_matter(monkeypatch):
    from gpumemprof import _walk

    walker = _walk.Walker(None)
    for at in range(1, 7):
        walker._keep(entries(1, 2) if at % 2 else entries(at, 2), at * 10)
    walker._keep(entries(9), None)
    document = walker.frozen().document(oldest_us=45)
    assert document["walks"] == [
        {"time_us": 40, "set": 0},
        {"time_us": 50, "set": 1},
        {"time_us": 60, "set": 2},
        {"time_us": None, "set": 3},
    ]
    addresses = [[document["tensors"][row]["address"] for row in rows] for rows in document["tensor_sets"]]
    assert addresses == [[4, 2], [1, 2], [6, 2], [9]]
    assert len(document["tensors"]) == 5
    assert len(walker.frozen().document()["walks"]) == 7


def test_what_walks_find_is_bounded(monkeypatch):
    from gpumemprof import _walk

    monkeypatch.setattr(_walk, "MAX_TENSORS", 100)
    monkeypatch.setattr(_walk, "MAX_ROWS", 400)
    monkeypatch.setattr(_walk, "MAX_WALKS", 30)
    walker = _walk.Walker(None)
    for at in range(1000):
        # New addresses each time, and one set that comes again and again.
        walker._keep(entries(*range(at * 10, at * 10 + 10)), at)
        walker._keep(entries(-1, -2), at)
    assert len(walker._entries) <= 100 and len(walker._walks) <= 30
    assert walker._rows == sum(len(rows) for rows in walker._sets) <= 400
    assert sum(rows.uses for rows in walker._sets.values()) == len(walker._walks)
    document = walker.frozen().document()
    newest = document["tensor_sets"][document["walks"][-2]["set"]]
    assert [document["tensors"][row]["address"] for row in newest] == list(range(9990, 10000))
    walker._keep(entries(*range(500)), 2000)
    assert walker.left_out == 400


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"signal": "KILL"}, "SIGKILL cannot be handled"),
        ({"signal": "19"}, "SIGSTOP cannot be handled"),
        ({"signal": "NO"}, "no signal is called"),
        ({"signal": 4000}, "no signal has the number"),
        ({"max_entries": 0}, "from 1 to"),
        ({"prometheus": "abc"}, "expected a port"),
        ({"sample_hz": float("nan")}, "expected sample_hz"),
        ({"oom_budget_s": -1.0}, "expected oom_budget_s"),
    ],
)
def test_options_that_cannot_be_are_refused(options, words):
    for begin in (gpumemprof.enable, gpumemprof.profile):
        with pytest.raises(ValueError, match=words):
            begin(**options)


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "gpumemprof", *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), **environment},
        capture_output=True,
        text=True,
    )


def test_run_refuses_before_it_starts_and_runs_modules(tmp_path):
    for option, value, words in (
        ("--signal", "KILL", "SIGKILL"),
        ("--max-entries", "0", "from 1 to"),
        ("--prometheus", "abc", "expected a port"),
    ):
        done = run("run", option, value, "no-such-script.py")
        assert done.returncode == 2 and words in done.stderr, done
    (tmp_path / "mine.py").write_text("import sys; print(sys.argv[1:])")
    for command in (["-m", "mine"], [str(tmp_path / "mine.py")]):
        done = subprocess.run(
            [sys.executable, "-m", "gpumemprof", "run", "--stacks", "all", *command, "--lr", "1", "-m", "x"],
            env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == "['--lr', '1', '-m', 'x']", done


def test_secrets_of_the_command_line_are_not_written():
    from gpumemprof._context import masked

    given = [
        "train.py",
        "--hf-token=abc",
        "--password",
        "abc def",
        "--lr",
        "1",
        "wandb.API_KEY=abc",
        "--auth",
        "--bf16",
        "--max-tokens",
        "512",
        "--tokenizer=gpt2",
    ]
    assert masked(given) == [
        "train.py",
        "--hf-token=***",
        "--password",
        "***",
        "--lr",
        "1",
        "wandb.API_KEY=***",
        "--auth",
        "--bf16",
        "--max-tokens",
        "512",
        "--tokenizer=gpt2",
    ]
    assert masked(["https://me:abc@host/x", "--db=pg://me:abc@host/x", "https://host/?a=1&access_token=abc&b=2"]) == [
        "https://***@host/x",
        "--db=pg://***@host/x",
        "https://host/?a=1&access_token=***&b=2",
    ]


def test_lines_say_the_rank_where_there_are_several(capsys, monkeypatch):
    from gpumemprof._files import say

    say("one")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    say("two")
    assert capsys.readouterr().err == "gpumemprof: one\ngpumemprof: rank 2: two\n"


def test_an_error_is_found_behind_those_it_caused():
    from gpumemprof._oom import oom_causes

    oom = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def raised(work):
        try:
            work()
        except BaseException as problem:
            return problem

    def wrapped():
        try:
            raise oom
        except RuntimeError as problem:
            raise ValueError("training failed") from problem

    def in_handling():
        try:
            wrapped()
        except ValueError:
            raise KeyError("cleanup")  # noqa: B904

    def ends():
        try:
            raise oom
        except RuntimeError:
            sys.exit(1)

    assert [cause for cause, _ in oom_causes(raised(in_handling))] == [oom]
    assert oom_causes(oom)[0][1]["requested"]["bytes"] == 2 << 30
    # Whoever ends the program on purpose has caught it.
    assert oom_causes(raised(ends)) == [] and oom_causes(None) == [] and oom_causes(ValueError("x")) == []


def test_one_that_was_recovered_from_gives_way(tmp_path, capsys):
    from types import SimpleNamespace

    from gpumemprof import _oom

    recorder = SimpleNamespace(snapshots=[])
    watch = _oom.OomWatch(recorder)

    def dump(number, time_s, outcome):
        path = tmp_path / f"oom-{number}.pickle"
        for file in (path, _oom.sidecar_path(path), _oom.report_path(path)):
            file.write_text("")
        recorder.snapshots.append(path)
        seen = _oom.Seen({}, None, time_s)
        seen.outcome = outcome
        is_written = SimpleNamespace(is_set=lambda: True)
        seen.capture = SimpleNamespace(path=path, is_written=is_written)
        watch._dumped.append(seen)

    for number, outcome in enumerate(("raised", "recovered", "recovered")):
        assert watch._has_room(1000.0)
        dump(number, 1000.0, outcome)
    # Not at once, and not those that were not recovered from.
    assert not watch._has_room(1001.0) and len(list(tmp_path.iterdir())) == 9
    assert watch._has_room(1040.0)
    assert sorted(path.name for path in tmp_path.glob("*.pickle")) == ["oom-0.pickle", "oom-2.pickle"]
    assert len(list(tmp_path.iterdir())) == 6 and [path.name for path in recorder.snapshots] == [
        "oom-0.pickle",
        "oom-2.pickle",
    ]
    assert "oom-1.pickle" in capsys.readouterr().err
    dump(3, 1040.0, "caught")
    assert watch._has_room(1100.0)
    dump(4, 1100.0, "caught")
    assert not watch._has_room(1150.0)
    # After ten minutes there is room again.
    assert watch._has_room(1000.0 + _oom.PER_SECONDS + 1)


def test_what_is_told_of_a_batch_is_of_what_failed():
    from gpumemprof._batches import at_failure

    def begun(step, *passes):
        told = [{"module": module, "inputs": inputs} for module, inputs in passes]
        return {"step": step, "micro_batch": 0, "inputs": passes[0][1], "passes": told, "allocated_bytes": {"0": step}}

    batches = [begun(0, ("A", ["a0"]), ("B", ["b0"])), begun(1, ("A", ["a1"]), ("B", ["b1"]))]
    of_b = {"is_training": True, "passes": [{"module": "B", "inputs": ["b1"]}]}
    assert [one["inputs"] for one in at_failure(batches, {"step": 1}, of_b)] == [["b0"], ["b1"]]
    both = {"is_training": True, "passes": batches[1]["passes"]}
    assert [one["inputs"] for one in at_failure(batches, {"step": 1}, both)] == [["a0"], ["a1"]]
    # Called twice with different inputs, it is not known what goes with what.
    twice = [begun(0, ("A", ["x"]), ("A", ["y"])), batches[1]]
    of_a = {"is_training": True, "passes": [{"module": "A", "inputs": ["a1"]}]}
    assert [one["inputs"] for one in at_failure(twice, {"step": 1}, of_a)] == [[], ["a1"]]
    asked = {"is_training": False, "passes": [{"module": "A", "inputs": ["big"]}]}
    assert [one["inputs"] for one in at_failure(batches, {"step": 1}, asked)] == [["big"]]
    assert at_failure(batches, {"step": 1}, None) == batches[:1]


def test_signs_of_life_of_dead_processes_are_removed(tmp_path):
    from gpumemprof._pulse import _start_ticks, remove_dead

    ended = subprocess.Popen(["true"])
    ended.wait()
    mine = {"process": os.getpid(), "start_ticks": _start_ticks(os.getpid()), "namespace": "here"}
    files = {
        "1.json": mine,
        "2.json": {**mine, "process": ended.pid},
        "3.json": {**mine, "start_ticks": 1},
        "4.json": {**mine, "process": ended.pid, "namespace": "elsewhere"},
        "5.json": "damaged",
        ".6.json.abc": {},
        ".7.json.abc": {},
    }
    for name, pulse in files.items():
        (tmp_path / name).write_text(json.dumps(pulse))
    os.utime(tmp_path / ".6.json.abc", (time.time() - 3600,) * 2)
    remove_dead(tmp_path, "here")
    if mine["start_ticks"] is None:
        pytest.skip("no /proc here")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".7.json.abc", "1.json", "4.json", "5.json"]


def packed_run(tmp_path, name="oom-1"):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / f"{name}.pickle").write_bytes(os.urandom(100_000))
    (folder / f"{name}.gpumemprof.json").write_text("{}")
    return folder


def test_damaged_packed_runs_leave_nothing(tmp_path):
    packed = gpumemprof.pack(packed_run(tmp_path))
    whole = packed.read_bytes()
    flipped = bytearray(whole)
    flipped[50_000] ^= 255
    for name, content in {
        "cut": whole[:60_000],
        "tail": whole[:-4],
        "flipped": bytes(flipped),
        "text": b"hello",
        "none": b"",
        "zeros": gzip.compress(bytes(20_000)),
    }.items():
        (tmp_path / f"{name}.gpumem").write_bytes(content)
        with pytest.raises(gpumemprof.Error, match=f"{name}.gpumem"):
            gpumemprof.unpack(tmp_path / f"{name}.gpumem")
        assert not (tmp_path / name).exists(), name
    done = run("unpack", str(tmp_path / "cut.gpumem"))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert len(gpumemprof.unpack(packed, tmp_path / "again")) == 2
    before = sorted((tmp_path / "again").iterdir())
    with pytest.raises(gpumemprof.Error, match="is there already"):
        gpumemprof.unpack(packed, tmp_path / "again")
    assert sorted((tmp_path / "again").iterdir()) == before


def test_a_run_packs_from_inside_and_with_long_names(tmp_path, monkeypatch):
    folder = packed_run(tmp_path, "ä" * 100)
    monkeypatch.chdir(folder)
    packed = gpumemprof.pack(".")
    assert packed == tmp_path / "run.gpumem"
    snapshot, sidecar = sorted(gpumemprof.unpack(packed, tmp_path / "out"), key=lambda path: path.suffix != ".pickle")
    assert snapshot.read_bytes() == next(folder.glob("*.pickle")).read_bytes()
    # They still belong together.
    assert sidecar.name == snapshot.name.replace(".pickle", ".gpumemprof.json") and len(snapshot.name.encode()) <= 100


def test_a_compiled_model_is_called_after_what_was_compiled():
    from gpumemprof._names import class_name

    model = type("GPT", (), {"_modules": {"head": object()}})()
    compiled = type("OptimizedModule", (), {"_modules": {"_orig_mod": model}})()
    assert class_name(model) == class_name(compiled) == "GPT"
