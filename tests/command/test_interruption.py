"""Ctrl-C and SIGTERM while there is nothing to save, twice, and inside of a compilation."""

import signal
import subprocess
import sys
import time

import pytest
from running import CASE, settings

# stands for a compilation of minutes: C code that looks for no signal of Python's
LONG = """
import ctypes, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
import importlib
of_fit = importlib.import_module("impindiff.training._fit")
compiled = of_fit.compile_step
def compile_step(*arguments):
    program = compiled(*arguments)
    print("compiling", flush=True)
    lock = ctypes.CDLL(None)
    lock.sleep(60)
    lock.sleep(60)
    return program
of_fit.compile_step = compile_step
from impindiff.command.cli import main
sys.exit(main())
"""

TWICE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from impindiff.command.interruption import watched
with watched(lambda line: print(line, flush=True)) as watch:
    watch.stepped(saved=sys.argv[1] == "saved")
    print("step", flush=True)
    while sys.argv[1] != "short":
        time.sleep(0.01)
    while True:
        time.sleep(0.01)
        try:
            watch.stepped()
        except KeyboardInterrupt:
            sys.exit(watch.code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_inside_of_a_compilation_it_ends_at_once(tmp_path, number):
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-c",
        LONG,
        "run",
        CASE,
        *settings(stepper__name="crank_nicolson"),
        "--out",
        str(folder),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "compiling" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)
        process.send_signal(number)
        start = time.monotonic()
        error = process.communicate(timeout=50)[1]
    assert time.monotonic() - start < 30
    assert process.returncode == 128 + number
    assert error == f"interrupted; continue with: impindiff run {CASE} --out {folder} --resume\n"


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "count"), [("short", 1), ("long", 2)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_ends_after_the_step_and_two_at_once(number, steps, count):
    command = [sys.executable, "-c", TWICE, steps]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "step\n"
        process.send_signal(number)
        assert process.stdout.readline().startswith("interrupted: this step is ended")
        if count == 2:
            assert process.poll() is None
            process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number


@pytest.mark.few(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_ends_at_once_what_is_saved(number):
    command = [sys.executable, "-c", TWICE, "saved"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "step\n"
        process.send_signal(number)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(timeout=60) == 128 + number
