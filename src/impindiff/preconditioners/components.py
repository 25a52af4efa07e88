"""Matrices of a state's components, the basis of preconditioners.

The model needs no more than its tendency: the matrix of the step's equation is extracted from a few
products with its Jacobian, since a cell is coupled with its neighbours only. Where that does not
hold (a limiter, a stencil of five cells per axis), a preconditioner may be built for another model
with a similar matrix: `simplify`.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.grid.geometry import cells_vary_in_shape, relative_volumes, typical_spacing
from impindiff.implicit.linear import LinearMap
from impindiff.operators import Elliptic, star_of
from impindiff.steppers import HybridModel, StageEquation, stage_residual

Simplify = Callable[[HybridModel], HybridModel]
Field = Float[Array, "*cells"]


def grid_of(stage: StageEquation, user: str) -> Grid:
    """The model's grid. Raises `InputError` with the preconditioner's name if it has none.

    A grid among the latent parts, such as one whose domain has unknown parameters, comes first.
    """
    parts = jax.tree.leaves(stage.latent, is_leaf=lambda part: isinstance(part, Grid))
    grids = [part for part in parts if isinstance(part, Grid)]
    grid = grids[0] if grids else getattr(stage.model, "grid", None)
    if not isinstance(grid, Grid):
        raise InputError(
            f"{user}: {type(stage.model).__name__} has no grid; give the model a field `grid`, an "
            "impindiff.Grid, so that the axes of its state are known"
        )
    return grid


def simplified(stage: StageEquation, simplify: Simplify | None) -> StageEquation:
    """The equation of the model that the preconditioner is built for."""
    return stage if simplify is None else dataclasses.replace(stage, model=simplify(stage.model))


def component_matrix(
    function: Callable[[PyTree], PyTree], z: PyTree, index: int, grid: Grid
) -> Elliptic:
    """The part of dF/dz that couples the leaf of that index, a field on the grid, with itself."""
    leaves, structure = jax.tree.flatten(z)

    def own_rows(leaf: Field) -> Field:
        moved = [leaf if i == index else other for i, other in enumerate(leaves)]
        return jax.tree.leaves(function(jax.tree.unflatten(structure, moved)))[index]

    _, matvec = jax.linearize(own_rows, leaves[index])
    like = leaves[index]
    volumes = relative_volumes(grid, like.dtype)
    spacing, lines = typical_spacing(grid), cells_vary_in_shape(grid)
    isolated = grid.domain is not None
    return star_of(matvec, like, grid.periodic, spacing, volumes, lines, isolated)


def component_inverses(
    z: PyTree, stage: StageEquation, user: str, inverse_of: Callable[[Elliptic], LinearMap]
) -> list[LinearMap | None]:
    """Approximate inverses of each component's matrix; None for components that are not fields.

    **Raises:** as `grid_of`.
    """
    grid = grid_of(stage, user)

    def residual(z: PyTree) -> PyTree:
        return stage_residual(z, stage)

    return [
        inverse_of(component_matrix(residual, z, i, grid)) if leaf.shape == grid.cells else None
        for i, leaf in enumerate(jax.tree.leaves(z))
    ]


def by_component(z: PyTree, inverses: list[LinearMap | None]) -> LinearMap:
    """The block-diagonal map: each component by its own inverse, or unchanged."""
    structure = jax.tree.structure(z)

    def inverse(v: PyTree) -> PyTree:
        blocks = zip(inverses, jax.tree.leaves(v), strict=True)
        return jax.tree.unflatten(structure, [x if f is None else f(x) for f, x in blocks])

    return inverse


def of_content(through: Array, matrix: Elliptic, axis: int) -> np.ndarray:
    """Flux through inner faces as a fraction of the content of the smaller of the two cells.

    Of concrete numbers, on the host.
    """
    flux = np.abs(np.asarray(through))
    if matrix.volumes is None:
        return flux
    sizes = np.moveaxis(np.broadcast_to(np.asarray(matrix.volumes), matrix.shape), axis, -1)
    return flux / np.moveaxis(np.minimum(sizes[..., 1:], sizes[..., :-1]), -1, axis)
