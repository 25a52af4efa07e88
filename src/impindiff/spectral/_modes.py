"""The Fourier modes of a periodic grid, in the layout of a real transform."""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Complex, Float

from impindiff.errors import InputError
from impindiff.grid import Grid

# (field, coefficients) of a state that a stepper has just transformed back
_KNOWN: ContextVar[Sequence[tuple[Array, Array]]] = ContextVar("known", default=())


class Modes:
    """Wave numbers of a grid's modes, transforms to them and back.

    The trailing axes of coefficients are the grid's; the last one has the n // 2 + 1 modes that
    determine a real field.

    **Raises:** `InputError` for a grid that is not a uniform Cartesian box, periodic on all axes.
    """

    def __init__(self, grid: Grid, user: str):
        if not (grid.is_box and all(grid.periodic)):
            walls = [str(axis) for axis, closes in enumerate(grid.periodic) if not closes]
            why = f"walls on axis {' and '.join(walls)}" if walls else grid.kind
            raise InputError(
                f"{user}: expected a uniform Cartesian grid that is periodic on every axis, got "
                f"{why}; take the finite-volume operators, such as ipd.gradient and ipd.diffusion"
            )
        self.cells = grid.cells
        self.axes = tuple(range(-grid.ndim, 0))
        self.numbers = [
            _along(_integers(n, axis == grid.ndim - 1), grid, axis)
            for axis, n in enumerate(grid.cells)
        ]
        sides = zip(grid.lower, grid.upper, strict=True)
        self.units = [2 * np.pi / (high - low) for low, high in sides]

    def forward(self, u: Float[Array, "..."]) -> Complex[Array, "..."]:
        """Coefficients of a field; those of a `known` one are not calculated again."""
        for field, coefficients in _KNOWN.get():
            if field is u:
                return coefficients
        return jnp.fft.rfftn(u, axes=self.axes)

    def backward(
        self, coefficients: Complex[Array, "..."], dtype: DTypeLike
    ) -> Float[Array, "..."]:
        """The field of these coefficients."""
        return jnp.fft.irfftn(coefficients, s=self.cells, axes=self.axes).astype(dtype)

    def wave_numbers(self, axis: int, dtype: DTypeLike) -> Array:
        """2 pi m / length for each mode m, shaped to broadcast."""
        return jnp.asarray(self.units[axis] * self.numbers[axis], dtype)

    def odd_wave_numbers(self, axis: int, dtype: DTypeLike) -> Array:
        """The same, and 0 for the mode n / 2 of an even number n of cells.

        Of that mode only the cosine is on the grid; its first derivative, a sine, is 0 there.
        """
        m, n = self.numbers[axis], self.cells[axis]
        return jnp.asarray(self.units[axis] * np.where(2 * np.abs(m) == n, 0, m), dtype)

    def squares(self, dtype: DTypeLike) -> Array:
        """The sum of the squared wave numbers."""
        parts = [self.wave_numbers(axis, dtype) ** 2 for axis in range(len(self.cells))]
        return sum(parts[1:], start=parts[0])

    def resolved(self, dtype: DTypeLike) -> Array:
        """1 for the modes with |m| < n / 3 along every axis, 0 for others.

        The product of two fields of such modes has no false ones among them (the rule of 2/3).
        """
        masks = (3 * np.abs(m) < n for m, n in zip(self.numbers, self.cells, strict=True))
        product = jnp.ones((), dtype)
        for mask in masks:
            product = product * jnp.asarray(mask, dtype)
        return product

    def divergence(
        self, parts: Sequence[Complex[Array, "..."]], dtype: DTypeLike
    ) -> Complex[Array, "..."]:
        """Coefficients of the divergence of a vector, given by those of its components."""
        terms = [1j * self.odd_wave_numbers(i, dtype) * part for i, part in enumerate(parts)]
        return sum(terms[1:], start=terms[0])


@contextlib.contextmanager
def known(pairs: Sequence[tuple[Array, Array]]) -> Iterator[None]:
    """Let operators that are traced in this block take the coefficients of these very fields."""
    token = _KNOWN.set(pairs)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _integers(n: int, halved: bool) -> Float[np.ndarray, " modes"]:
    frequencies = np.fft.rfftfreq(n) if halved else np.fft.fftfreq(n)
    return np.round(n * frequencies)


def _along(values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
    shape = [1] * grid.ndim
    shape[axis] = -1
    return values.reshape(shape)
