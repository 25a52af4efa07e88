"""Several processes that work on one problem, on one machine or many."""

import os
import sys
from types import TracebackType

import jax

from impindiff.errors import InputError

COORDINATOR, PROCESSES, PROCESS = (
    f"IMPINDIFF_{name}" for name in ("COORDINATOR", "PROCESSES", "PROCESS")
)
# Seconds without a sign of life after which a process counts as dead; the others then end.
HEARTBEAT = 20


def distributed(heartbeat: int = HEARTBEAT) -> tuple[int, int]:
    """Join the other processes; returns (which this is, how many there are).

    To be called first in a script that is started by `impindiff launch`, which says who the others
    are, or by Slurm's `srun`, of which JAX finds it out itself. Started in any other way, the
    script is alone: (0, 1). From then on `jax.devices()` are those of all.

    A process that dies, or is not heard of for `heartbeat` seconds, ends the others: they stop with
    a message, and are started again to resume from the last state saved. One that ends with an
    exception does not wait for the others at its exit, as JAX would for five minutes: they may be
    waiting for it.

    Raises `InputError` for an environment that says only half.
    """
    said = [os.environ.get(name) for name in (COORDINATOR, PROCESSES, PROCESS)]
    if all(said):
        coordinator, processes, process = said
        jax.distributed.initialize(
            coordinator,
            int(processes or 0),
            int(process or 0),
            heartbeat_timeout_seconds=heartbeat,
        )
    elif any(said):
        raise InputError(
            f"distributed: of {COORDINATOR}, {PROCESSES} and {PROCESS} some are set and some are "
            "not; start the processes by `impindiff launch`"
        )
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in os.environ:
        jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat)
    else:
        return 0, 1
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
