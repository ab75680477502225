"""Makes a Python process of ``gpumemprof run`` record, once it has imported PyTorch.

Python imports ``sitecustomize`` at its start, and this folder is first on its path. Nothing here may
fail, and another ``sitecustomize`` that this one hides is run as it would have been.
"""

import os
import sys


def _other_sitecustomize():
    """Runs the sitecustomize that would have been found without us."""
    import importlib.machinery
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    paths = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


class _AfterTorch:
    """Finds ``torch`` as everybody else does, and begins when it has been imported."""

    def __init__(self, options):
        self.options = options

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.loader is None:
            return spec
        loader, options = spec.loader, self.options
        execute = loader.exec_module

        def exec_module(module):
            # The loader is this import's own; its method is put back at once.
            del loader.exec_module
            execute(module)
            _begin(options)

        try:
            loader.exec_module = exec_module
        except AttributeError:
            return spec
        return spec


def _begin(options):
    try:
        package = options["package"]
        try:
            from gpumemprof._run import begin
        except ImportError:
            # The program's interpreter is another than the command's.
            sys.path.append(package)
            from gpumemprof._run import begin
        begin(options)
    except Exception as problem:
        print(f"gpumemprof: not recording: {type(problem).__name__}: {problem}", file=sys.stderr)


def _start():
    text = os.environ.get("GPUMEMPROF_RUN")
    if not text:
        return
    import json

    options = json.loads(text)
    if "torch" in sys.modules:
        _begin(options)
    else:
        sys.meta_path.insert(0, _AfterTorch(options))


try:
    _start()
except Exception as problem:
    print(f"gpumemprof: not recording: {type(problem).__name__}: {problem}", file=sys.stderr)
try:
    _other_sitecustomize()
except ImportError:
    pass
