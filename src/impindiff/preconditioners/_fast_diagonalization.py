"""The constant-coefficient part of a step's matrix, inverted by transforms along the axes."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.fft import dct, idct
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Robin
from impindiff.grid.boundary import Boundary, is_concrete
from impindiff.grid.geometry import (
    AtFaces,
    balance,
    distances,
    inflow_factors,
    is_plain,
    mean_spacing,
    mirror_distance,
)
from impindiff.implicit.linear import LinearMap
from impindiff.operators import Elliptic
from impindiff.preconditioners.components import (
    Simplify,
    by_component,
    component_inverses,
    grid_of,
    simplified,
)
from impindiff.steppers import StageEquation

Field = Float[Array, "*cells"]


class FastDiagonalization(eqx.Module):
    """Exact inverse of r - sum_i D_i d^2/dx_i^2, with r and D_i the means of the step's matrix.

    One Krylov iteration per solve where the step's matrix has constant coefficients and no drift,
    few where they vary by a small factor; many where they jump, or advection dominates: then use
    `Multigrid`. The transforms along an axis follow the grid's boundary conditions: FFT (periodic),
    DCT-II (Neumann on both sides), DST-II (Dirichlet on both), and for others, Robin included, the
    eigenvectors themselves, n x n for the n cells of that axis, as along stretched axes and radii.

    - `simplify`: maps the model to the one to precondition.

    The means are taken over entries extracted from the Jacobian by some 2 ndim + 1 products per
    component. The map is its own transpose. Raises `InputError` for a model without `grid`.
    Components that are not fields on it are unchanged.

    Source: Lynch, Rice and Thomas, "Direct solution of partial difference equations by tensor
    product methods", Numer. Math. 6 (1964); Swarztrauber, "The methods of cyclic reduction, Fourier
    analysis and the FACR algorithm", SIAM Review 19 (1977).
    """

    simplify: Simplify | None = None

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """Build the linear map v -> (dF/dz)^{-1} v at z, approximately; see `NewtonKrylov`."""
        stage = simplified(stage, self.simplify)
        grid = grid_of(stage, "FastDiagonalization")
        if grid.domain is not None:
            raise InputError(
                "FastDiagonalization: a domain that is a part of the box has no modes along axes; "
                "take Multigrid()"
            )
        inverse_of = functools.partial(fast_diagonalization, grid=grid)
        return by_component(z, component_inverses(z, stage, "FastDiagonalization", inverse_of))


def fast_diagonalization(operator: Elliptic, grid: Grid) -> LinearMap:
    """The map b -> x with r x - sum_i D_i d^2x/dx_i^2 = b, r and D_i the means of the operator's.

    Exact for constant coefficients without drift. Modes that the operator maps to 0, such as a
    constant between impermeable walls, are left as they are.

    - `operator`: on that grid, with the conditions of the grid's own boundary.

    The map is its own transpose, up to volumes where cells differ. See `FastDiagonalization`.
    """
    return _inverse(operator, grid, [_axis(grid, axis) for axis in range(grid.ndim)])


class _Axis(NamedTuple):
    """Operator -h^2 d^2/dx^2 along an axis: eigenvalues, and the map to its eigenvectors and back.

    Both maps are None along a periodic axis: those axes are transformed together.
    """

    eigenvalues: Float[np.ndarray, " cells"]
    forward: Callable[[Array], Array] | None = None
    backward: Callable[[Array], Array] | None = None


def _inverse(matrix: Elliptic, grid: Grid, axes: list[_Axis]) -> LinearMap:
    dtype = matrix.reaction.dtype
    if matrix.volumes is None:
        reaction = jnp.mean(matrix.reaction)
        conductances = [jnp.mean(k.inner) for k in matrix.faces]
    else:
        sizes = jnp.broadcast_to(matrix.volumes, grid.cells)
        reaction = jnp.sum(matrix.reaction) / jnp.sum(sizes)
        conductances = [
            _mean_conductance(k.inner, grid, axis) for axis, k in enumerate(matrix.faces)
        ]
    closed = [axis for axis, kind in enumerate(axes) if kind.forward is None]
    halved = closed[-1] if closed else None
    spectrum = reaction
    for axis, (k, kind) in enumerate(zip(conductances, axes, strict=True)):
        n = grid.cells[axis]
        values = kind.eigenvalues[: n // 2 + 1] if axis == halved else kind.eigenvalues
        along = [1] * grid.ndim
        along[axis] = -1
        spectrum = spectrum + k * jnp.asarray(values, dtype).reshape(along)
    spectrum = jnp.where(spectrum == 0, 1.0, spectrum)

    def transformed(x: Field, divide: Callable[[Array], Array]) -> Field:
        for kind in axes:
            x = x if kind.forward is None else kind.forward(x)
        if closed:
            x = jnp.fft.irfftn(
                divide(jnp.fft.rfftn(x, axes=closed)),
                s=[grid.cells[i] for i in closed],
                axes=closed,
            )
        else:
            x = divide(x)
        for kind in axes:
            x = x if kind.backward is None else kind.backward(x)
        return x.astype(dtype)

    def apply(v: Field) -> Field:
        return transformed(v, lambda x: x * spectrum.astype(x.dtype))

    def solve(_, v: Field) -> Field:
        return transformed(v, lambda x: x / spectrum.astype(x.dtype))

    # declared symmetric, so that the transposed solve does not transpose the transforms
    if matrix.volumes is None:
        return lambda v: lax.custom_linear_solve(apply, v, solve, symmetric=True)
    # `solve` is of the symmetric matrix V A, by vectors X with X^T V X = 1; X^-1 = X^T V
    volumes = matrix.volumes
    return lambda v: lax.custom_linear_solve(
        lambda x: volumes * apply(volumes * x), volumes * v, solve, symmetric=True
    )


def _mean_conductance(k: Array, grid: Grid, axis: int) -> Array:
    """Mean diffusivity, by the conductances of a diffusivity of 1; over h^2 on an axis of `_Axis`.

    Axes of unequal cells have their lengths in the eigenvalues.
    """
    dtype = k.dtype
    unit, apart = inflow_factors(grid, axis, dtype), distances(grid, axis, False, dtype)
    area = unit.inner if isinstance(unit, AtFaces) else unit
    length = apart.inner if isinstance(apart, AtFaces) else apart
    mean = jnp.mean(k * length / area)
    return mean / mean_spacing(grid)[axis] ** 2 if is_plain(grid, axis) else mean


def _unequal_axis(grid: Grid, axis: int) -> _Axis:
    """Operator -d/dx (a d/dx) / v along an axis of unequal cells, by X with X^T v X = 1."""
    n, (lower, upper), closes = grid.cells[axis], grid.boundary[axis], grid.periodic[axis]
    metric = balance(grid, axis, np.float64)
    assert metric is not None
    apart = distances(grid, axis, closes, np.float64)
    at = apart if isinstance(apart, AtFaces) else AtFaces(apart, apart, apart)
    inner, low, high = (np.ravel(a / d) for a, d in zip(metric.areas, at, strict=True))
    matrix = np.zeros((n, n))
    below = np.arange(n - 1)
    matrix[below, below + 1] = matrix[below + 1, below] = -inner
    if closes:
        matrix[0, -1] -= low[0]
        matrix[-1, 0] -= low[0]
    matrix -= np.diag(matrix.sum(1))
    if not closes:
        matrix[0, 0] += low[0] * _wall(lower, mirror_distance(grid, axis, "lower", 1))
        matrix[-1, -1] += high[0] * _wall(upper, mirror_distance(grid, axis, "upper", 1))
    root = 1 / np.sqrt(np.ravel(metric.volumes))
    values, vectors = np.linalg.eigh(root[:, None] * matrix * root)
    return _dense(values, root[:, None] * vectors, axis)


def _dense(values: np.ndarray, vectors: np.ndarray, axis: int) -> _Axis:
    """An axis by its eigenvectors, the columns of a matrix."""

    def along(x: Array, m: np.ndarray) -> Array:
        return jnp.moveaxis(jnp.tensordot(x, jnp.asarray(m, x.dtype), (axis, 0)), -1, axis)

    return _Axis(values, lambda x: along(x, vectors), lambda x: along(x, vectors.T))


def _axis(grid: Grid, axis: int) -> _Axis:
    n, (lower, upper) = grid.cells[axis], grid.boundary[axis]
    if not is_plain(grid, axis):
        return _unequal_axis(grid, axis)
    wave = np.arange(n)
    if grid.periodic[axis]:
        return _Axis(2 - 2 * np.cos(2 * np.pi * wave / n))
    if isinstance(lower, Neumann) and isinstance(upper, Neumann):
        return _Axis(2 - 2 * np.cos(np.pi * wave / n), *_cosines(axis))
    if isinstance(lower, Dirichlet) and isinstance(upper, Dirichlet):
        return _Axis(2 - 2 * np.cos(np.pi * (wave + 1) / n), *_sines(axis, n, grid.ndim))
    matrix = 2.0 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    h = mean_spacing(grid)[axis]
    matrix[0, 0] = 1 + _wall(lower, h)
    matrix[-1, -1] = 1 + _wall(upper, h)
    return _dense(*np.linalg.eigh(matrix), axis)


def _cosines(axis: int) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    return (
        lambda x: dct(x, axis=axis, norm="ortho"),
        lambda x: idct(x, axis=axis, norm="ortho"),
    )


def _sines(
    axis: int, n: int, ndim: int
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """DST-II by DCT-II: alternate signs before, reversed order after."""
    shape = [1] * ndim
    shape[axis] = n
    signs = np.where(np.arange(n) % 2, -1.0, 1.0).reshape(shape)
    forward, backward = _cosines(axis)
    return (
        lambda x: jnp.flip(forward(x * jnp.asarray(signs, x.dtype)), axis),
        lambda x: backward(jnp.flip(x, axis)) * jnp.asarray(signs, x.dtype),
    )


def _wall(side: Boundary, h: float) -> float:
    """Conductance of a wall relative to that between two cells; a traced one counts as closed."""
    if isinstance(side, Dirichlet):
        return 2.0
    if isinstance(side, Neumann):
        return 0.0
    assert isinstance(side, Robin)
    if not (is_concrete(side.a) and is_concrete(side.b)):
        return 0.0
    a, b = (float(np.mean(np.asarray(x))) for x in (side.a, side.b))
    return 2 * a * h / (2 * b + a * h)
