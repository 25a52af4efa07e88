"""An unknown local law in place of a known PDE, with the same field network."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError
from impindiff.fields import ConditionalField, TimeBasis
from impindiff.grid import Grid
from impindiff.grid.ghosts import pad
from impindiff.methods._layers import SMALL
from impindiff.rollout import depends_on_time
from impindiff.steppers import HybridModel

# frequency factors of the default field, smooth at first; see `ConditionalField`
_OMEGA_FIRST = 10.0


class LocalLaw(HybridModel):
    r"""du/dt = [c_00(x, t) u + sum_p sum_k c_pk(x, t) (u_k^p - u^p) / p] / T, neighbours k.

    A cell and its 3^d - 1 neighbours, p = 1 to `degree`, coefficients from a field network. It
    includes every linear (p = 1) or quadratic law of nearest neighbours: upwind advection with
    diffusion for p = 1, Burgers' equation in flux form for p <= 2. Nothing is conserved, no sign is
    prescribed, and coefficients are independent of each other. Each field of a state has a separate
    law, independent of the other fields; all share the grid's boundary.

    - `coefficients`: a field of `components(grid.ndim, degree, fields)` outputs without dimension,
      field by field in the order of `jax.tree.leaves`.
    - `timescale`: T. Coefficients of order one change a cell's value by order one within T.

    Its tendency raises `InputError` for another number of fields, and for fields not on the grid.
    """

    grid: Grid
    coefficients: ConditionalField
    degree: int
    timescale: float = 1.0

    @staticmethod
    def components(ndim: int, degree: int, fields: int = 1) -> int:
        """Number of outputs of the coefficient field."""
        return fields * (1 + degree * (3**ndim - 1))

    def latent(self, t: Float[Array, ""]) -> Float[Array, "components *cells"]:
        """All coefficients at the cell centres."""
        return self.coefficients(self.grid, t)

    def tendency(
        self,
        t: Float[Array, ""],
        u: PyTree[Float[Array, "*cells"]],
        latent: Float[Array, "components *cells"],
    ) -> PyTree[Float[Array, "*cells"]]:
        """The law applied to each field."""
        fields, structure = jax.tree.flatten(u)
        expected = self.components(self.grid.ndim, self.degree, len(fields))
        if len(latent) != expected or any(x.shape != self.grid.cells for x in fields):
            raise InputError(
                f"LocalLaw: {len(latent)} coefficients for fields of shapes "
                f"{[x.shape for x in fields]}; expected {expected}, see LocalLaw.components, and "
                f"the grid's cells, {self.grid.cells}"
            )
        of_each = jnp.split(latent, len(fields))
        laws = [self._law(t, x, c) for x, c in zip(fields, of_each, strict=True)]
        return jax.tree.unflatten(structure, laws)

    def _law(
        self,
        t: Float[Array, ""],
        u: Float[Array, "*cells"],
        coefficients: Float[Array, "of_one *cells"],
    ) -> Float[Array, "*cells"]:
        grid = self.grid
        padded = u
        for axis in range(grid.ndim):
            # pad axis by axis; earlier axes already have ghost cells
            padded = _pad(padded, grid, axis, t)
        total = coefficients[0] * u
        offsets = [o for o in itertools.product((0, 1, 2), repeat=grid.ndim) if set(o) != {1}]
        row = 1
        for power in range(1, self.degree + 1):
            for offset in offsets:
                window = tuple(slice(o, o + n) for o, n in zip(offset, grid.cells, strict=True))
                difference = padded[window] ** power - u**power
                total = total + coefficients[row] * difference / power
                row += 1
        return total / self.timescale


def local_law_like(
    model: HybridModel,
    state: PyTree[Any],
    degree: int,
    *,
    until: float,
    start: float = 0.0,
    timescale: float | None = None,
    key: PRNGKeyArray,
) -> LocalLaw:
    """A fresh `LocalLaw` in place of a hybrid model: on its grid, with a similar field.

    The network has the box, size, frequencies and time dependence of the first `ConditionalField`
    in the model that has as many axes as the grid. Without one, it has width 64 and depth 3 on the
    grid's box, and depends on time if the model's `latent` does. The initial law is close to
    persistence.

    **Arguments:**

    - `model`: with a field `grid`.
    - `state`: any pytree with the structure of its state, whose leaves are the fields.
    - `degree`: polynomial degree of the law.
    - `start`, `until`: time range of the observations, and of a default network's time dependence.
    - `timescale`: the law's; None: `until - start`, so that a law of order one neither blows up nor
      stands still over the observations, whatever the units.

    **Raises:** `InputError` for a model without a grid.
    """
    grid: Any = getattr(model, "grid", None)
    if not isinstance(grid, Grid):
        raise InputError(
            f"method.name: local_law is a law of neighbouring cells, and {type(model).__name__} "
            "has none; give the model a field `grid`, an impindiff.Grid"
        )
    components = LocalLaw.components(grid.ndim, degree, len(jax.tree.leaves(state)))
    parts = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, ConditionalField))
    of_model = [
        part
        for part in parts
        if isinstance(part, ConditionalField) and len(part.lower) == grid.ndim
    ]
    if of_model:
        coefficients = of_model[0].anew(components, key=key)
    else:
        timed = depends_on_time(model, jnp.asarray(start))
        coefficients = ConditionalField(
            components,
            grid.lower,
            grid.upper,
            periodic=grid.periodic,
            omega_first=_OMEGA_FIRST,
            conditioning="last_layer" if timed else None,
            time=TimeBasis(start, until) if timed else None,
            key=key,
        )
    # close to persistence, like the other black boxes: most random laws are unstable
    last = coefficients.network.weights[-1], coefficients.network.biases[-1]
    coefficients = eqx.tree_at(
        lambda field: (field.network.weights[-1], field.network.biases[-1]),
        coefficients,
        tuple(SMALL * values for values in last),
    )
    return LocalLaw(grid, coefficients, degree, until - start if timescale is None else timescale)


def _pad(
    u: Float[Array, "*padded"], grid: Grid, axis: int, t: Float[Array, ""]
) -> Float[Array, "*longer"]:
    """Add one ghost cell on both sides of `axis`; earlier axes are padded already."""

    def beside_ghosts(x: Any) -> Any:
        """A wall's scalar, or values on its face extended along the existing ghost cells."""
        x = x(t) if callable(x) else x
        for before in range(axis):
            along = jnp.ndim(x) - (grid.ndim - 1) + before
            if along >= 0 and x.shape[along] > 1:
                ends = [(1, 1) if i == along else (0, 0) for i in range(x.ndim)]
                x = jnp.pad(x, ends, mode="wrap" if grid.periodic[before] else "edge")
        return x

    walls = jax.tree.map(beside_ghosts, grid.boundary[axis], is_leaf=callable)
    line = Grid(
        (grid.lower[axis],),
        (grid.upper[axis],),
        (grid.cells[axis],),
        (walls,),
        grid.coordinates if axis == 0 else "cartesian",
        (grid.edges[axis],),
    )
    return jnp.moveaxis(pad(jnp.moveaxis(u, axis, -1), line, 0), -1, axis)
