"""Detection of equations made ill-posed by a coefficient that is traced."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from jax.extend.core import get_opaque_trace_state
from jaxtyping import Array, Bool

_NOTED: ContextVar[tuple[object, list[Bool[Array, ""]]] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def noting_ill_posed() -> Iterator[list[Bool[Array, ""]]]:
    """Collect flags of the operators called in this block, each a possible ill-posedness.

    Operators inside a further transformation (`jax.vmap`, `jax.lax.scan`, `jax.jit`) are skipped,
    since their flags would be unknown outside.
    """
    flags: list[Bool[Array, ""]] = []
    token = _NOTED.set((get_opaque_trace_state(), flags))
    try:
        yield flags
    finally:
        _NOTED.reset(token)


def note_if_ill_posed(flag: Callable[[], Bool[Array, ""]]) -> None:
    """Add a flag to those of the enclosing `noting_ill_posed`, if there is one."""
    noted = _NOTED.get()
    if noted is not None and noted[0] == get_opaque_trace_state():
        noted[1].append(flag())
