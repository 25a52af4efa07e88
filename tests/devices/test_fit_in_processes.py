"""Training in two processes: one that is killed ends the other, and the run goes on, anywhere."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from as_slurm import run_together

SCRIPT = Path(__file__).with_name("fit_in_processes.py")


def train(processes, steps, killed_at, *folders):
    command = [str(SCRIPT), str(steps), str(killed_at), *map(str, folders)]
    return run_together(processes, command, DEVICES=str(processes))


def losses(folder):
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    return [record["loss"] for record in records]


@pytest.mark.slow
def test_killed_then_resumed_in_two_processes_and_in_one(tmp_path):
    run, alone, whole = tmp_path / "run", tmp_path / "alone", tmp_path / "whole"
    begun = time.monotonic()
    first, second = train(2, 50, 2, run)
    assert time.monotonic() - begun < 60
    assert (first.returncode, second.returncode) == (1, -9)
    assert "another of the processes has ended" in first.stderr
    assert "impindiff: process 0 of 2 ends with this error" in first.stderr.splitlines()[-1]
    saved = sorted(int(path.name) for path in (run / "training_state").glob("[0-9]*"))
    # the first may have begun a step more, but not without the second
    assert saved[0] == 1
    assert saved[-1] in (2, 3)
    shutil.copytree(run, alone)

    for ended in (*train(2, 4, 0, run), *train(1, 4, 0, alone, whole)):
        assert ended.returncode == 0, ended.stderr
    np.testing.assert_allclose(losses(run), losses(whole), rtol=1e-10)
    np.testing.assert_allclose(losses(alone), losses(whole), rtol=1e-10)
