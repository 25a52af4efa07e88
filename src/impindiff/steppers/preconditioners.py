"""Preconditioners for the equation of a step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.implicit.linear import LinearMap
from impindiff.steppers.implicit import StageEquation, stage_residual


class TridiagonalPreconditioner(eqx.Module):
    """The exact inverse of a step's Jacobian where that is tridiagonal.

    It is for a model of one unknown a cell in one space dimension whose tendency couples each cell
    with its two neighbours: diffusion; advection and convection, but not by "van_leer". The three
    diagonals are found by three products with the Jacobian, of vectors that are 1 in every third
    cell (Curtis, Powell and Reid 1974), and the system is solved by Gaussian elimination: one
    Krylov iteration a solve, forward and adjoint, however fine the grid. With a wider stencil, or
    the corner entries of a periodic axis, it is an approximate inverse, as a preconditioner may be.

    Give it to a stepper's solver: `NewtonKrylov(preconditioner=TridiagonalPreconditioner())`.
    Raises `InputError` for a state that is not one array of one axis.
    """

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """The linear map v -> (dF/dz)^{-1} v at z; see `NewtonKrylov`."""
        leaves, structure = jax.tree.flatten(z)
        if len(leaves) != 1 or leaves[0].ndim != 1:
            shapes = [leaf.shape for leaf in leaves]
            raise InputError(
                "TridiagonalPreconditioner: the state of one sample has arrays of shapes "
                f"{shapes}; expected a single one with one axis"
            )
        cells = leaves[0].shape[0]
        _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)
        index = jnp.arange(cells)
        every_third = [jnp.asarray(index % 3 == colour, leaves[0].dtype) for colour in range(3)]
        seeds = jax.tree.unflatten(structure, [jnp.stack(every_third)])
        products = jax.tree.leaves(jax.vmap(jacobian)(seeds))[0]

        def diagonal(offset):
            """Entries (i, i + offset); those outside the matrix are 0."""
            inside = (index + offset >= 0) & (index + offset < cells)
            return jnp.where(inside, products[(index + offset) % 3, index], 0.0)

        lower, middle, upper = diagonal(-1), diagonal(0), diagonal(1)

        def inverse(v: PyTree) -> PyTree:
            (right,) = jax.tree.leaves(v)
            x = jax.lax.linalg.tridiagonal_solve(lower, middle, upper, right[:, None])
            return jax.tree.unflatten(structure, [x[:, 0]])

        return inverse
