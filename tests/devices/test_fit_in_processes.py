"""Training in two processes: one that is killed ends the other, and the run goes on, anywhere."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("fit_in_processes.py")
TOGETHER = ("-m", "impindiff", "launch", "--processes", "2")


def train(steps, killed_at, *folders, start=(), devices=1):
    command = [sys.executable, *start, str(SCRIPT), str(steps), str(killed_at), *map(str, folders)]
    return subprocess.run(
        command,
        env=os.environ | {"DEVICES": str(devices)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def losses(folder):
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    return [record["loss"] for record in records]


def test_killed_then_resumed_in_two_processes_and_in_one(tmp_path):
    run, alone, whole = tmp_path / "run", tmp_path / "alone", tmp_path / "whole"
    begun = time.monotonic()
    killed = train(50, 2, run, start=TOGETHER, devices=2)
    assert time.monotonic() - begun < 60
    assert killed.returncode == 1
    assert "impindiff: process 1 of 2 was killed by signal 9" in killed.stderr
    saved = sorted(int(path.name) for path in (run / "training_state").glob("[0-9]*"))
    # the first may have begun a step more, but not without the second
    assert saved[0] == 1
    assert saved[-1] in (2, 3)
    shutil.copytree(run, alone)

    both = train(4, 0, run, start=TOGETHER, devices=2)
    assert both.returncode == 0, both.stderr
    one = train(4, 0, alone, whole)
    assert one.returncode == 0, one.stderr
    np.testing.assert_allclose(losses(run), losses(whole), rtol=1e-10)
    np.testing.assert_allclose(losses(alone), losses(whole), rtol=1e-10)


def test_one_that_is_gone_is_told_in_one_line(tmp_path):
    # as Slurm starts them: nobody ends the other
    common = os.environ | {"DEVICES": "1", "IMPINDIFF_PROCESSES": "2"}
    common["IMPINDIFF_COORDINATOR"] = f"127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), "50", "1", str(tmp_path / "run")],
            env=common | {"IMPINDIFF_PROCESS": str(index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        told = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [1, -9]
    assert "another of the processes has ended" in told[0]
    assert "impindiff: process 0 of 2 ends with this error" in told[0].splitlines()[-1]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
