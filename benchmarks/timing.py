"""Programs compiled ahead of time, and their times in turn; used by the scripts of this folder."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax


@dataclass(frozen=True)
class Program:
    """A compiled function with its arguments; a call waits for its results."""

    compiled: Any
    arguments: tuple[Any, ...]
    compile_seconds: float

    def __call__(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.arguments))

    @property
    def temporary_bytes(self) -> int | None:
        """By XLA's memory analysis; None on a backend without one."""
        analysis = self.compiled.compiled.memory_analysis()
        return None if analysis is None else analysis.temp_size_in_bytes


def compiled(function: Callable[..., Any], *arguments: Any) -> Program:
    """The function compiled for these arguments, of which only the arrays are inputs."""
    start = time.perf_counter()
    jitted: Any = eqx.filter_jit(function)
    program = jitted.lower(*arguments).compile()
    return Program(program, arguments, time.perf_counter() - start)


def interleaved(programs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each program, all in turn `repeats` times after a turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(1 + repeats):
        for name, run in programs.items():
            taken = once(run)
            if repeat:
                seconds[name].append(taken)
    return seconds


def repeated(run: Callable[[], Any], repeats: int, longest: float) -> list[float]:
    """Seconds of up to `repeats` runs, at least one, started within `longest` seconds."""
    until = time.perf_counter() + longest
    seconds = [once(run)]
    while len(seconds) < repeats and time.perf_counter() < until:
        seconds.append(once(run))
    return seconds


def once(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The median with the lowest and the highest value, and how many there are."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "runs": len(values),
    }
