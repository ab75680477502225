"""Cases around recording: `already` on, a `fork` before CUDA, two `devices`, `signal`, `off`, `annotations`,
`poll` (and fewer events), `breaks` (a fault in our own hooks), `raises` (one in a module)."""

import json
import os
import signal
import sys

import gpumemprof
import torch
from models import GPT, counters, train_step

mode = sys.argv[1]
out = {}
if mode == "already":
    torch.cuda.memory._record_memory_history(max_entries=77)
    assert gpumemprof.enable("runs")
    GPT(layers=1).cuda()
    gpumemprof.disable()
    out["is_on"] = torch._C._cuda_isHistoryEnabled()
    out["events"] = len(torch.cuda.memory._snapshot()["device_traces"][0])
if mode == "fork":
    assert gpumemprof.enable("runs")
    out["initialised"] = torch.cuda.is_initialized()
    child = os.fork()
    if child == 0:
        model = GPT(layers=1).cuda()
        gpumemprof.dump("child")
        sys.stdout.flush()
        os._exit(0)
    out["status"] = os.waitpid(child, 0)[1]
    GPT(layers=1).cuda()
    gpumemprof.dump("parent")
    child = os.fork()
    if child == 0:
        # CUDA is of no use here, and neither are we.
        try:
            gpumemprof.dump("never")
        except gpumemprof.RecordingError:
            os._exit(5)
        os._exit(6)
    out["second"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if mode == "devices":
    with gpumemprof.profile(out="runs") as prof:
        for device in (0, 1):
            torch.empty((device + 1) << 20, device=f"cuda:{device}")
    out["path"] = str(prof.snapshot().path)
    out["peaks"] = {str(device): counters(device)["requested_bytes_peak"] for device in (0, 1)}
if mode == "signal":
    gpumemprof.enable("runs", signal="USR1")
    GPT(layers=1).cuda()
    os.kill(os.getpid(), signal.SIGUSR1)
if mode == "annotations":

    class Noted(torch.autograd.Function):
        @staticmethod
        def forward(context, values):
            return values * 2

        @staticmethod
        def backward(context, gradient):
            with torch.profiler.record_function("in backward"):
                return gradient * 2

    gpumemprof.enable("runs")
    torch.cuda.init()
    with torch.profiler.record_function("in main"):
        values = torch.ones(8, device="cuda", requires_grad=True)
    Noted.apply(values).sum().backward()
    noted = torch.cuda.memory._snapshot().get("external_annotations")
    out["names"] = None if noted is None else sorted({one["name"] for one in noted})
if mode == "poll":
    gpumemprof.enable("runs", skip_actions="lean")
    model = GPT(layers=1).cuda()
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    (out["poll"],) = gpumemprof.poll()
    out["counters"] = counters()
    out["actions"] = sorted({event["action"] for event in torch.cuda.memory._snapshot()["device_traces"][0]})
    out["path"] = str(gpumemprof.dump())
if mode == "breaks":
    from gpumemprof._labels import Labels

    def broken(*_):
        raise RuntimeError("a fault of ours")

    gpumemprof.enable("runs")
    model = GPT(layers=1).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train_step(model, optimizer)
    Labels._enter_outermost = broken
    train_step(model, optimizer)
    train_step(model, optimizer)
    out["is_trained"] = True
if mode == "raises":
    import traceback

    class Fails(torch.nn.Module):
        def forward(self, x, *, why):
            raise ValueError(why)

    gpumemprof.enable("runs")
    model = GPT(layers=1).cuda()
    model.blocks[0].mlp.append(torch.nn.Identity())
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.blocks[0].mlp[-1].forward = lambda x: Fails()(x, why="of its own")
    try:
        train_step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    except ValueError as problem:
        out["message"] = str(problem)
        out["frames"] = [frame.filename for frame in traceback.extract_tb(problem.__traceback__)]
    from gpumemprof import _recorder

    out["label"] = _recorder.current().labels.native.current
    out["is_inside"] = _recorder.current().labels.native.is_inside
if mode == "off":
    hooks = lambda: (  # noqa: E731
        len(torch.nn.modules.module._global_forward_hooks),
        len(torch.nn.modules.module._global_forward_pre_hooks),
        torch.nn.Module._compiled_call_impl,
        torch.autograd.backward,
        sys.excepthook,
    )
    before = hooks()
    gpumemprof.enable("runs", labels=True)
    model = GPT(layers=1).cuda()
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    gpumemprof.disable()
    out["same"] = before == hooks()
    out["is_on"] = torch._C._cuda_isHistoryEnabled()
print(json.dumps(out))
