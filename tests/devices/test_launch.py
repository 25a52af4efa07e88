"""Processes that are started together end together."""

import os
import subprocess
import sys
import time

import pytest

import impindiff as ipd
from impindiff.launch import ProcessError, launch

WHO = "import os, sys, time; index = os.environ['IMPINDIFF_PROCESS']\n"


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(WHO + text)
    return str(path)


def test_all_run_and_know_who_they_are(tmp_path):
    text = f"open(r'{tmp_path}/' + index, 'w').write(os.environ['IMPINDIFF_PROCESSES'])"
    launch(3, [script(tmp_path, text)])
    assert {p.read_text() for p in tmp_path.iterdir() if p.suffix == ""} == {"3"}


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("os.kill(os.getpid(), 9)", "process 1 of 2 was killed by signal 9"),
        ("sys.exit(3)", "process 1 of 2 ended with exit code 3"),
    ],
)
def test_one_that_dies_ends_the_others(tmp_path, end, words):
    text = f"time.sleep(100) if index == '0' else None\n{end}"
    start = time.monotonic()
    with pytest.raises(ProcessError, match=words):
        launch(2, [script(tmp_path, text)])
    assert time.monotonic() - start < 30


def test_an_exception_does_not_wait_for_the_others(tmp_path):
    text = (
        "import impindiff\nimpindiff.distributed()\n"
        "if index == '1':\n    raise ValueError('mine')\n"
        "time.sleep(3)\nos._exit(0)"
    )
    with pytest.raises(ProcessError, match="process 1 of 2 ended with exit code 1"):
        launch(2, [script(tmp_path, text)])


def test_a_launch_that_is_told_to_end_leaves_no_process(tmp_path):
    text = f"open(r'{tmp_path}/' + index, 'w').write(str(os.getpid()))\ntime.sleep(100)"
    path = script(tmp_path, text)
    command = [sys.executable, "-m", "impindiff", "launch", "--processes", "2", path]
    with subprocess.Popen(command) as launched:
        deadline = time.monotonic() + 60
        while not all((tmp_path / i).is_file() and (tmp_path / i).read_text() for i in "01"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        launched.terminate()
        assert launched.wait(30) != 0
    for i in "01":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / i).read_text()), 0)


def test_the_command_refuses_a_script_that_is_not_there(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "impindiff", "launch", "--processes", "2", "none.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert "expected a Python script that is there, got none.py" in done.stderr


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("IMPINDIFF_PROCESS", "0")
    with pytest.raises(ipd.InputError, match="some are set and some are not"):
        ipd.distributed()
    monkeypatch.delenv("IMPINDIFF_PROCESS")
    assert ipd.distributed() == (0, 1)
