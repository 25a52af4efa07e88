"""The command `impindiff` in a process of its own, forked from one that has imported it already.

Importing takes the command longer than most of what the tests ask of it. The process that has
imported does nothing else: it has no thread and no JAX device when it forks.
"""

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

_IMPORTED = (
    "impindiff.command.cli",
    "impindiff.compare.command",
    "impindiff.command.data_tables",
    "impindiff.command.new_problem",
    "impindiff.pages",
    "impindiff.experiment",
    "impindiff.data",
)


def run_command(
    arguments: Sequence[object], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`impindiff ARGUMENTS` in `cwd`, as `subprocess.run` with its output captured as text."""
    server, words = _server(), [str(word) for word in arguments]
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        here = str(cwd or Path.cwd())
        request = {"words": words, "cwd": here, "out": folder, "environment": dict(os.environ)}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        output, error = ((Path(folder) / name).read_text() for name in ("1", "2"))
    return subprocess.CompletedProcess(["impindiff", *words], code, output, error)


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    importlib.import_module("quick_figures").draw_quickly()
    # as in conftest.py; the children look through nothing of what is there before they start
    gc.set_threshold(200_000, 50, 100)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.exit(_run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(request: dict[str, Any]) -> int:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in (1, 2):
        file = Path(request["out"]) / str(descriptor)
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["impindiff", *request["words"]]
    sys.path[0] = request["cwd"]
    try:
        importlib.import_module("impindiff.command.cli").main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
