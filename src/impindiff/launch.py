"""Start the processes of a distributed run on this machine, and end them together."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from impindiff.errors import ImpindiffError
from impindiff.interruption import termination_raises

_LOOK = 0.2  # seconds between looks at the processes
_GRACE = 10.0  # seconds that a process has to end once it is told to


class ProcessError(ImpindiffError):
    """A process of a distributed run has ended before its time."""


def launch(processes: int, command: Sequence[str]) -> None:
    """Run `command`, a Python script and its arguments, in so many processes that know each other.

    They find each other through the environment (see `devices.distributed`), on a free port of
    this machine. If one ends with an error, or is killed, the others are ended too, and all are if
    this one is told to end (SIGTERM, or Ctrl-C).

    Raises `ProcessError` then, naming it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ
            | {
                "IMPINDIFF_COORDINATOR": address,
                "IMPINDIFF_PROCESSES": str(processes),
                "IMPINDIFF_PROCESS": str(index),
            },
        )
        for index in range(processes)
    ]
    try:
        with termination_raises():
            _watch(running)
    finally:
        _end(running)
    failed = _failed(running)
    if failed is not None:
        raise ProcessError(failed)


def _watch(running: list[subprocess.Popen[bytes]]) -> None:
    while any(code is None for code in (p.poll() for p in running)):
        failed = _failed(running)
        if failed is not None:
            raise ProcessError(failed)
        time.sleep(_LOOK)


def _failed(running: list[subprocess.Popen[bytes]]) -> str | None:
    codes = enumerate([process.poll() for process in running])
    # what was killed comes first: others may have failed for want of it since the last look
    failed = sorted((code, index) for index, code in codes if code)
    if not failed:
        return None
    how = [
        f"process {index} of {len(running)} "
        + (f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")
        for code, index in failed
    ]
    return (
        f"{', '.join(how)}; all were stopped. What was saved last is whole: start again, and it "
        "goes on from there"
    )


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _GRACE
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
