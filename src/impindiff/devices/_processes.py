"""Several processes on one problem, on one or many machines."""

import os
import sys
from importlib.util import find_spec
from types import TracebackType

import jax

from impindiff.errors import InputError

# set by Open MPI's mpirun, and by those of MPICH and Intel MPI
_BY_MPI = {"OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"}
# seconds without a sign of life after which a process counts as dead, and the others end
HEARTBEAT = 20


def distributed(heartbeat: int = HEARTBEAT) -> tuple[int, int]:
    """Join the other processes; returns (index of this process, number of processes).

    Call it first in a script started by Slurm's `srun` or by `mpirun`, from which JAX finds the
    others; `mpirun` needs the package `mpi4py`. Started in any other way, the script is alone: (0,
    1). Afterwards `jax.devices()` includes the devices of all processes.

    A process that dies, or is silent for `heartbeat` seconds, ends the others: they stop with a
    message, and can be restarted to resume from the last saved state. One that ends with an
    exception does not wait for the others at its exit, as JAX would for five minutes, since they
    may be waiting for it.

    **Raises:** `InputError` under `mpirun` without `mpi4py`.
    """
    by_mpi = not _BY_MPI.isdisjoint(os.environ)
    if by_mpi and find_spec("mpi4py") is None:
        raise InputError("distributed: under mpirun JAX needs a package: pip install mpi4py")
    by_slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in os.environ
    if not (by_mpi or by_slurm):
        return 0, 1
    jax.distributed.initialize(
        cluster_detection_method="mpi4py" if by_mpi else None,
        heartbeat_timeout_seconds=heartbeat,
    )
    sys.excepthook = _end_at_once
    return jax.process_index(), jax.process_count()


def _end_at_once(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.__excepthook__(kind, error, trace)
    sys.stderr.write(
        f"impindiff: process {jax.process_index()} of {jax.process_count()} ends with this error, "
        "and the others end too; of several such messages the first has the cause\n"
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
