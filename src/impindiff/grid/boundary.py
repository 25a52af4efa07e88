"""Boundary conditions of one side of one axis of a cell-centred grid.

Every wall condition is the linear relation a u + b du/dn = g on the face, so that Dirichlet (a = 1,
b = 0) and Neumann (a = 0, b = 1) share Robin's formula for the ghost cells.
"""

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import equinox as eqx
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from impindiff.errors import InputError

Value: TypeAlias = ArrayLike | Callable[..., ArrayLike]


class Boundary(eqx.Module):
    """Boundary condition on one side of one axis: `Periodic`, `Dirichlet`, `Neumann` or `Robin`."""


class Periodic(Boundary):
    """Periodic axis: its last cell is followed by the first. Required on both sides."""


class Wall(Boundary):
    """Condition a u + b du/dn = g on a face, n being the OUTWARD normal.

    The value g is a number, an array of the face's shape (the grid's shape without that axis, or
    anything that broadcasts to it; leading batch axes of the field are allowed), or a function of
    the time t that returns one of these. An array in a model is a leaf of that model: a JAX array
    among the trained leaves is trained like any other; use a NumPy array or a float, or filter it
    out, to keep it fixed.
    """

    value: eqx.AbstractVar[Value]

    def __check_init__(self) -> None:
        if not callable(self.value):
            return
        try:
            inspect.signature(self.value).bind(0.0)
        except TypeError as error:
            raise InputError(
                f"{type(self).__name__}: value{inspect.signature(self.value)} cannot be called "
                f"with a time ({error}); write a function of t"
            ) from None
        except ValueError:  # no signature is available
            return

    @property
    @abstractmethod
    def coefficients(self) -> tuple[ArrayLike, ArrayLike]:
        """The pair (a, b)."""


class Dirichlet(Wall):
    """Prescribed value: u = value on the face."""

    value: Value = 0.0

    @property
    def coefficients(self) -> tuple[ArrayLike, ArrayLike]:
        """The pair a = 1, b = 0."""
        return 1.0, 0.0


class Neumann(Wall):
    """Prescribed outward normal derivative du/dn = value: -du/dx on the lower side of x.

    Not a flux: with a diffusivity D, a flux q into the domain is du/dn = q / D.
    """

    value: Value = 0.0

    @property
    def coefficients(self) -> tuple[ArrayLike, ArrayLike]:
        """The pair a = 0, b = 1."""
        return 0.0, 1.0


class Axis(Neumann):
    """The axis or centre r = 0 of cylindrical or spherical coordinates: no boundary, no flux.

    Faces there have no area, and fields continue as their mirror images, du/dr = 0. `Grid` puts it
    on the lower side of r where that is 0; it can be written in a pair, `(Axis(), Dirichlet(1.0))`.
    """

    value: Value = 0.0

    def __check_init__(self) -> None:
        if not is_concrete(self.value) or callable(self.value) or np.any(self.value):
            raise InputError("Axis: no value can be prescribed at r = 0; write Axis()")


class Robin(Wall):
    """Mixed condition a u + b du/dn = value on the face, n being the outward normal.

    `a` and `b` are numbers or arrays of the face's shape; b has the unit of a times a length.
    A loss through a film, D du/dn = k (u_outside - u), is `Robin(a=k, b=D, value=k * u_outside)`.

    **Raises:** `InputError` where a = b = 0. A combination with a d + 2 b = 0, d being a ghost
    cell's distance from its mirror image, leaves the ghost undefined: padding raises `InputError`
    then.
    """

    a: ArrayLike
    b: ArrayLike
    value: Value

    def __init__(self, a: ArrayLike, b: ArrayLike, value: Value = 0.0):
        self.a, self.b, self.value = a, b, value
        if not (is_concrete(a) and is_concrete(b)):
            return
        if np.any((np.asarray(a) == 0) & (np.asarray(b) == 0)):
            raise InputError("Robin: a and b are both 0, which states nothing; give at least one")

    @property
    def coefficients(self) -> tuple[ArrayLike, ArrayLike]:
        """The pair (a, b) as given."""
        return self.a, self.b


Side: TypeAlias = Boundary | Sequence[Boundary]
BoundaryLike: TypeAlias = Sequence[Side]
Boundaries: TypeAlias = tuple[tuple[Boundary, Boundary], ...]


def is_concrete(x: object) -> bool:
    """True unless the number is a tracer of a JAX transformation."""
    return not isinstance(x, Tracer)


def normalise_boundary(
    boundary: BoundaryLike, ndim: int, starts_at_axis: bool = False
) -> Boundaries:
    """Convert to one (lower side, upper side) pair per axis.

    `boundary` has one entry per axis: a `Boundary` for both sides, or a pair (lower, upper). With
    `starts_at_axis` the lower side of the first axis is r = 0, no boundary: one condition is that
    of the outer side.

    **Raises:** `InputError` on another number of entries, on an entry that is neither, on a
    `Periodic` with another condition opposite to it, and on a condition at r = 0, or `Axis`
    elsewhere.
    """
    if not isinstance(boundary, Sequence) or len(boundary) != ndim:
        given = "a single condition"
        if not isinstance(boundary, Boundary):
            given = len(boundary) if isinstance(boundary, Sequence) else f"{boundary!r:.60}"
        raise InputError(
            f"boundary: expected {ndim} entries, one per axis, got {given}; "
            "the two sides of an axis go in a pair: boundary=((lower, upper), ...)"
        )
    if starts_at_axis:
        first = boundary[0]
        if isinstance(first, Boundary) and not isinstance(first, Axis | Periodic):
            boundary = ((Axis(), first), *boundary[1:])
    pairs = tuple(_sides(entry, axis) for axis, entry in enumerate(boundary))
    for axis, (lower, upper) in enumerate(pairs):
        at_zero = starts_at_axis and axis == 0
        if at_zero and not isinstance(lower, Axis):
            raise InputError(
                "boundary of axis 0, lower side: r = 0 is no boundary and takes no condition, got "
                f"{type(lower).__name__}; give the outer side's condition alone, or a pair "
                "(Axis(), outer)"
            )
        if isinstance(upper, Axis) or (isinstance(lower, Axis) and not at_zero):
            raise InputError(
                f"boundary of axis {axis}: Axis is r = 0 of cylindrical or spherical coordinates, "
                "the lower side of axis 0 where that starts at 0; give Neumann() for a plane of "
                "symmetry"
            )
    return pairs


def _sides(entry: Side, axis: int) -> tuple[Boundary, Boundary]:
    pair = (entry, entry) if isinstance(entry, Boundary) else entry
    is_pair = isinstance(pair, Sequence) and len(pair) == 2
    if not is_pair or not all(isinstance(side, Boundary) for side in pair):
        raise InputError(
            f"boundary of axis {axis}: expected Periodic, Dirichlet, Neumann or Robin, "
            f"or a pair of them (lower, upper), got {entry!r}"
        )
    lower, upper = pair
    if isinstance(lower, Periodic) != isinstance(upper, Periodic):
        raise InputError(f"boundary of axis {axis}: Periodic needs to be on both sides")
    return lower, upper


def homogeneous(boundaries: Boundaries) -> Boundaries:
    """The same conditions with zero values."""

    def without_value(side: Boundary) -> Boundary:
        return dataclasses.replace(side, value=0.0) if isinstance(side, Wall) else side

    return tuple((without_value(lower), without_value(upper)) for lower, upper in boundaries)
