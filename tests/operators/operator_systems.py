"""Grids, fields and conditions that the operators' tests share."""

import jax
import jax.numpy as jnp
import numpy as np

from impindiff.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, Robin

CELLS = {1: (7,), 2: (6, 5), 3: (5, 4, 3)}
CONDITIONS: dict[str, Boundary | tuple[Boundary, Boundary]] = {
    "periodic": Periodic(),
    "dirichlet": Dirichlet(0.0),
    "neumann": Neumann(0.0),
    "robin": (Robin(1.0, 0.2), Robin(0.5, 1.0)),
    "mixed": (Dirichlet(0.0), Neumann(0.0)),
}


def grid(ndim: int, condition: str = "periodic") -> Grid:
    upper = (1.0, 0.7, 1.3)[:ndim]
    return Grid((0.0,) * ndim, upper, CELLS[ndim], (CONDITIONS[condition],) * ndim)


def normal(seed: int, shape: tuple[int, ...], dtype=jnp.float64) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def positive(seed, shape):
    return jnp.exp(normal(seed, shape))


def linear_part(function):
    """The matrix-free linear map of an affine one."""
    return lambda u: function(u) - function(jnp.zeros_like(u))
