"""Processes find each other through what starts them."""

import time

import jax
import pytest
from as_slurm import run_together

import impindiff as ipd


def test_alone_without_what_starts_several():
    assert ipd.distributed() == (0, 1)


@pytest.mark.parametrize(
    ("environment", "method"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpi4py"),
        ({"MPI_LOCALNRANKS": "2"}, "mpi4py"),
        # mpirun in an allocation of Slurm, whose own numbers are those of nodes
        ({"OMPI_COMM_WORLD_SIZE": "2", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, "mpi4py"),
        ({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, None),
    ],
)
def test_what_starts_them_says_who_they_are(monkeypatch, environment, method):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: asked.append(options))
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr("impindiff.devices._processes.find_spec", lambda name: True)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ipd.distributed(heartbeat=7)
    assert asked == [{"cluster_detection_method": method, "heartbeat_timeout_seconds": 7}]


def test_mpirun_needs_mpi4py(monkeypatch):
    monkeypatch.setattr("impindiff.devices._processes.find_spec", lambda name: None)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(ipd.InputError, match="pip install mpi4py"):
        ipd.distributed()


@pytest.mark.slow
def test_an_exception_does_not_wait_for_the_others(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time, impindiff\nindex, count = impindiff.distributed()\n"
        "if index == 1:\n    raise ValueError('mine')\n"
        "time.sleep(3)\nos._exit(0)"
    )
    begun = time.monotonic()
    ended = run_together(2, [str(script)])
    assert time.monotonic() - begun < 60
    assert ended[1].returncode == 1
    assert "impindiff: process 1 of 2 ends with this error" in ended[1].stderr.splitlines()[-1]
