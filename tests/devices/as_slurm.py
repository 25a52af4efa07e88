"""A script in several processes on this machine, which find each other as Slurm's do."""

import os
import socket
import subprocess
import sys
from typing import NamedTuple


class Ended(NamedTuple):
    returncode: int
    stderr: str


def run_together(processes: int, command: list[str], **environment: str) -> list[Ended]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    of_step = {
        "JAX_COORDINATOR_ADDRESS": address,
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(processes),
    }
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ
            | environment
            | of_step
            | {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]
    try:
        told = [process.communicate(timeout=200)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [Ended(process.returncode, text) for process, text in zip(running, told, strict=True)]
