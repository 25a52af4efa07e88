"""The physics taken out, the field network kept: an unknown local law in place of a known PDE."""

import itertools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.baselines.layers import SMALL
from impindiff.baselines.without_latent import WithoutLatent
from impindiff.cases.box import BoxCase
from impindiff.errors import InputError
from impindiff.fields import ConditionalField
from impindiff.grid import Grid
from impindiff.grid.ghosts import pad
from impindiff.steppers import HybridModel


class LocalLaw(HybridModel):
    r"""du/dt = c_00(x) u + sum_p sum_k c_pk(x, t) (u_k^p - u^p) / (p h), over the neighbours k.

    A cell and its 3^d - 1 neighbours, p = 1 to `degree`, coefficients from a field network. Every
    linear (p = 1) or quadratic law of nearest neighbours is among them: upwind advection with
    diffusion for p = 1, Burgers' equation in flux form for p <= 2. Nothing is conserved, no sign is
    known, and no two coefficients have to do with each other.

    - `coefficients`: a field of `components(grid.ndim, degree)` outputs (length / time).
    """

    grid: Grid
    coefficients: ConditionalField
    degree: int

    @staticmethod
    def components(ndim: int, degree: int) -> int:
        """How many outputs the field of coefficients has."""
        return 1 + degree * (3**ndim - 1)

    def latent(self, t: Float[Array, ""]) -> Float[Array, "components *cells"]:
        """All coefficients at the cell centres."""
        return self.coefficients(self.grid, t)

    def tendency(
        self, t: Float[Array, ""], u: PyTree, latent: Float[Array, "components *cells"]
    ) -> PyTree:
        """The law."""
        del t
        grid = self.grid
        padded = u
        for axis in range(grid.ndim):
            # the ghosts of an axis that is padded already are those of a longer field
            padded = _pad(padded, grid, axis)
        h = min(grid.spacing)
        total = latent[0] * u
        offsets = [o for o in itertools.product((0, 1, 2), repeat=grid.ndim) if set(o) != {1}]
        row = 1
        for power in range(1, self.degree + 1):
            for offset in offsets:
                window = tuple(slice(o, o + n) for o, n in zip(offset, grid.cells, strict=True))
                difference = padded[window] ** power - u**power
                total = total + latent[row] * difference / (power * h)
                row += 1
        return total


def _pad(u: Float[Array, "*padded"], grid: Grid, axis: int) -> Float[Array, "*longer"]:
    """One ghost cell on both sides of `axis`, the axes before it being padded already."""
    moved = jnp.moveaxis(u, axis, -1)
    line = Grid(
        (grid.lower[axis],), (grid.upper[axis],), (grid.cells[axis],), (grid.boundary[axis],)
    )
    return jnp.moveaxis(pad(moved, line, 0), -1, axis)


class LocalLawInPlace(WithoutLatent):
    """To be mixed into a case on a box: a `LocalLaw` with the case's own field network."""

    def model(self, settings: Any, key: PRNGKeyArray) -> LocalLaw:
        """Coefficients conditioned on time where the case's field is."""
        if not isinstance(self, BoxCase):
            raise InputError(
                f"method.name: local_law needs a state that is observed, which {self.name} has "
                "not; it is for advection_diffusion_steady, advection_diffusion_dynamic and burgers"
            )
        grid, degree = settings.grid.build(), settings.method.degree
        coefficients = self.network(settings, LocalLaw.components(grid.ndim, degree), key)
        # nearly persistence, as the other black boxes start: most laws at random are unstable
        last = coefficients.network.weights[-1], coefficients.network.biases[-1]
        coefficients = eqx.tree_at(
            lambda field: (field.network.weights[-1], field.network.biases[-1]),
            coefficients,
            tuple(SMALL * values for values in last),
        )
        return LocalLaw(grid, coefficients, degree)
