"""Ahead-of-time compilation of the training step, and its cost."""

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax

from impindiff.errors import FailureCode, SolverError
from impindiff.training._resources import TrainingError

# libraries for communication between processes, on CPUs and GPUs
_LOST = re.compile(r"gloo|nccl|closed by peer", re.IGNORECASE)


class CompiledStep(NamedTuple):
    """A training step, compiled ahead of time.

    - `advance`: takes the arguments it was compiled for, (state, job). Raises `SolverError` for an
      error while the program runs, such as those of other libraries' linear solvers, and
      `TrainingError` if one of several processes is gone.
    - `compile_seconds`: tracing and compilation; less where a cache on disk holds the program.
    - `temporary_mb`: memory that XLA allocates besides arguments and results; None if not reported.
    """

    advance: Callable[..., Any]
    compile_seconds: float
    temporary_mb: float | None


def compile_step(step: Callable[..., Any], *arguments: Any) -> CompiledStep:
    """Compile `step` for `arguments`, without running it."""
    start = time.perf_counter()
    jitted: Any = eqx.filter_jit(step)
    program = jitted.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    analysis = program.compiled.memory_analysis()
    temporary = None if analysis is None else analysis.temp_size_in_bytes / 1e6

    def advance(*arguments: Any) -> Any:
        try:
            return jax.block_until_ready(program(*arguments))
        except jax.errors.JaxRuntimeError as error:
            reason = _reason(str(error))
            if jax.process_count() > 1 and _LOST.search(reason):
                raise TrainingError(
                    "another of the processes has ended, and this one cannot go on without it; "
                    "start all again and resume from the training state saved last "
                    f"({reason[:120]})",
                    code=FailureCode.process_lost,
                ) from error
            if "RESOURCE_EXHAUSTED" in reason:
                raise  # the command has a message for it
            raise SolverError(reason) from error

    return CompiledStep(advance, seconds, temporary)


def _reason(text: str) -> str:
    """The message of an error of a running program, without the traceback in its text."""
    found = re.search(r"EquinoxRuntimeError: (.+?)\n\n", text, re.DOTALL)
    return " ".join((found[1] if found else text.splitlines()[0]).split())


def seconds_per_step(compiled: CompiledStep, *arguments: Any, repeats: int = 3) -> float:
    """Median time over `repeats` runs after a first; results are discarded."""
    taken = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        compiled.advance(*arguments)
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[repeats // 2]
