"""Properties of an equation's operators, collected while its tendency is evaluated."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Literal

from jax.extend.core import get_opaque_trace_state
from jaxtyping import Array

Property = Literal["ill_posed", "diffusivity", "numerical_diffusivity"]
_NOTED: ContextVar[tuple[object, dict[str, list[Array]]] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def noting(*properties: Property) -> Iterator[dict[str, list[Array]]]:
    """Collect properties of the operators called in this block, by name.

    - "ill_posed": a flag for each diffusivity that is traced, True where it is negative.
    - "diffusivity": the mean of each, by axis.
    - "numerical_diffusivity": the largest |v| h / 2, or |f'| h / 2, of each first-order scheme, by
      axis.

    Operators inside a further transformation (`jax.vmap`, `jax.lax.scan`, `jax.jit`) are skipped,
    since their values would be unknown outside.
    """
    found: dict[str, list[Array]] = {name: [] for name in properties}
    token = _NOTED.set((get_opaque_trace_state(), found))
    try:
        yield found
    finally:
        _NOTED.reset(token)


def note(name: Property, value: Callable[[], Array]) -> None:
    """Add a value to those of the enclosing `noting`, if there is one that asks for it."""
    noted = _NOTED.get()
    if noted is not None and noted[0] == get_opaque_trace_state() and name in noted[1]:
        noted[1][name].append(value())
