"""Equations that lose their well-posedness through a coefficient that is not known when traced."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from jax.extend.core import get_opaque_trace_state
from jaxtyping import Array, Bool

_NOTED: ContextVar[tuple[object, list[Bool[Array, ""]]] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def noting_ill_posed() -> Iterator[list[Bool[Array, ""]]]:
    """The flags of the operators that are called in this block, each with a reason to doubt it.

    An operator inside a further transformation (`jax.vmap`, `jax.lax.scan`, `jax.jit`) is passed
    over: its flag would not be known outside.
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
