"""Coordinate fields: unknown functions of position."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.errors import InputError
from impindiff.fields.siren import Siren


@runtime_checkable
class HasCenters(Protocol):
    """Anything that knows the coordinates of its points, such as `Grid`: (dimensions, *points)."""

    @property
    def centers(self) -> Float[Array, "ndim *points"]:
        """Coordinates, one row an axis."""
        ...


class ConditionalField(eqx.Module):
    """v(x) = N(xi(x)), a SIREN N of the position alone: a steady field.

    The field belongs to a box, not to a grid: it is trained on one grid and may be evaluated on
    another. Each coordinate is scaled to xi in [-1, 1] on the box; along axes marked `periodic`
    it enters as (cos pi xi, sin pi xi) instead, and the field is then exactly periodic.

    - `components`: number of outputs (2 for a velocity in the plane).
    - `lower`, `upper`: corners of the box, in the units of the coordinates.
    - `periodic`: one flag per axis; default none.
    - `width`, `depth`, `omega_first`, `omega`: see `Siren`.

    Calling it with a grid and a time gives an array (components, *grid.shape); a steady field
    ignores the time. Raises `InputError` when the box or the grid have the wrong dimension.

    Source: Akhare et al. (2025), section 2 (conditional neural fields); Sitzmann et al. (2020).
    """

    network: Siren
    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        components: int,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        *,
        periodic: tuple[bool, ...] | None = None,
        width: int = 64,
        depth: int = 3,
        omega_first: float = 30.0,
        omega: float = 30.0,
        key: PRNGKeyArray,
    ):
        self.periodic = (False,) * len(lower) if periodic is None else periodic
        if not len(lower) == len(upper) == len(self.periodic):
            raise InputError(
                f"ConditionalField: lower, upper and periodic have {len(lower)}, {len(upper)} and "
                f"{len(self.periodic)} entries; expected one per axis in each"
            )
        self.lower, self.upper = lower, upper
        self.network = Siren(
            len(lower) + sum(self.periodic),
            components,
            width=width,
            depth=depth,
            omega_first=omega_first,
            omega=omega,
            key=key,
        )

    def __call__(
        self, grid: HasCenters, t: Float[Array, ""] | float | None = None
    ) -> Float[Array, "components *cells"]:
        """The field at the grid's points, in one pass of the network."""
        del t
        x = grid.centers
        if x.shape[0] != len(self.lower):
            raise InputError(
                f"ConditionalField: the grid has {x.shape[0]} axes, the field's box has "
                f"{len(self.lower)}"
            )
        features = []
        for axis, periodic in enumerate(self.periodic):
            lower, upper = self.lower[axis], self.upper[axis]
            xi = 2 * (x[axis] - lower) / (upper - lower) - 1
            features += [jnp.cos(np.pi * xi), jnp.sin(np.pi * xi)] if periodic else [xi]
        return self.network(jnp.stack(features))
