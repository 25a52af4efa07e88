"""Diagonal and block-diagonal preconditioners."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from impindiff.implicit.linear import LinearMap
from impindiff.operators import Elliptic, colouring
from impindiff.preconditioners.components import (
    Simplify,
    by_component,
    component_inverses,
    grid_of,
    simplified,
)
from impindiff.steppers import StageEquation, stage_residual

Field = Float[Array, "*cells"]


class Jacobi(eqx.Module):
    """Inverse of the matrix's diagonal, or of the coupling of components within a cell.

    For stiff reactions, and coefficients or cells of very different sizes; for diffusion it removes
    only the variation of the coefficient: iterations grow with the number of cells.

    - `blocks`: invert, in each cell, the whole matrix between the components there: where they
      react with each other faster than a step.
    - `simplify`: maps the model to the one to precondition.

    The entries are extracted from the Jacobian by some 2 ndim + 1 products per component. Raises
    `InputError` for a model without `grid`. Components that are not fields on it are unchanged.
    """

    blocks: bool = False
    simplify: Simplify | None = None

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """Build the linear map v -> (dF/dz)^{-1} v at z, approximately; see `NewtonKrylov`."""
        stage = simplified(stage, self.simplify)
        if self.blocks:
            return _cell_blocks(z, stage)
        return by_component(z, component_inverses(z, stage, "Jacobi", _diagonal_inverse))


def _diagonal_inverse(matrix: Elliptic) -> LinearMap:
    diagonal = _not_zero(matrix.main_diagonal())
    return lambda v: v / diagonal


def _cell_blocks(z: PyTree, stage: StageEquation) -> LinearMap:
    leaves, structure = jax.tree.flatten(z)
    _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)
    grid = grid_of(stage, "Jacobi")
    fields = [i for i, leaf in enumerate(leaves) if leaf.shape == grid.cells]
    plan = colouring(grid.cells, grid.periodic)
    colour = plan.of_cells()

    def column(j: int) -> list[Field]:
        """Entries (i, j) of the cells' blocks, for all i."""

        def probe(entries: list[Field], c: Array) -> tuple[list[Field], None]:
            seeds = [jnp.zeros_like(leaf) for leaf in leaves]
            seeds[j] = jnp.asarray(colour == c, leaves[j].dtype)
            products = jax.tree.leaves(jacobian(jax.tree.unflatten(structure, seeds)))
            found = zip(entries, (products[i] for i in fields), strict=True)
            return [jnp.where(colour == c, product, entry) for entry, product in found], None

        start = [jnp.zeros_like(leaves[i]) for i in fields]
        return lax.scan(probe, start, jnp.arange(plan.colours, dtype=jnp.int32))[0]

    columns = [column(j) for j in fields]
    inverse = _inverted([list(row) for row in zip(*columns, strict=True)])

    def apply(v: PyTree) -> PyTree:
        out = jax.tree.leaves(v)
        given = [out[i] for i in fields]
        for i, row in zip(fields, inverse, strict=True):
            out[i] = sum(entry * x for entry, x in zip(row, given, strict=True))
        return jax.tree.unflatten(structure, out)

    return apply


def _inverted(rows: list[list[Field]]) -> list[list[Field]]:
    """Inverses of small matrices, one per cell, by Gauss-Jordan elimination without pivots.

    Written out in fields, which XLA fuses, unlike a batch of LAPACK calls.
    """
    n = len(rows)
    one, zero = jnp.ones_like(rows[0][0]), jnp.zeros_like(rows[0][0])
    work = [[*row, *(one if i == j else zero for j in range(n))] for i, row in enumerate(rows)]
    for k in range(n):
        pivot = _not_zero(work[k][k])
        work[k] = [x / pivot for x in work[k]]
        for i in range(n):
            if i != k:
                factor = work[i][k]
                pairs = zip(work[i], work[k], strict=True)
                work[i] = [x - factor * y for x, y in pairs]
    return [row[n:] for row in work]


def _not_zero(x: Field) -> Field:
    return jnp.where(x == 0, 1.0, x)
