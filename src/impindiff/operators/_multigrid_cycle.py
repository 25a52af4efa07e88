"""Geometric multigrid for elliptic operators, with or without drift, as a preconditioner.

Differences from the textbook: coarse operators are not rediscretised but conductances of aggregates
in series (`Elliptic.coarsened`), which handles jumping coefficients; the transfer is piecewise
constant, which needs no boundary cases and keeps the cycle symmetric; the smoother is a Chebyshev
polynomial of Jacobi's iteration, independent of the cells' ordering and without estimates, since an
M-matrix scaled by its diagonal has its spectrum in (0, 2]. With drift the spectrum is a disc around
1, and the smoother is damped Jacobi iteration. On stretched axes the stronger couplings are along
one axis here and another there: the smoother is the same by lines, along every axis in turn, and in
reverse after the correction.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from impindiff.operators._aggregates import copy_to_pairs, sum_over_pairs
from impindiff.operators._elliptic import Elliptic
from impindiff.operators._faces import (
    check_choice,
    from_above,
    from_below,
    lower_faces,
    upper_faces,
)

# part of the spectrum of D^{-1} A that smoothing must damp, invisible on coarse grids
_SMOOTHED = (0.4, 2.0)
# damping of Jacobi's iteration with drift
_DAMPING = 0.8
# axes less than this times as wide as the finest are coarsened with it: left alone, they would be
# finer than it afterwards, and by more
_AS_FINE = math.sqrt(2.0)

Field = Float[Array, "*cells"]


class _Couplings(NamedTuple):
    """Couplings of a cell to its two neighbours along an axis, 0 through walls."""

    below: Field
    above: Field
    wraps: bool


class _Level(NamedTuple):
    """A = diagonal (I - couplings)."""

    diagonal: Field
    couplings: tuple[_Couplings, ...]


class _Lines(NamedTuple):
    """LU factors of I - couplings along one axis, which is the first of these arrays.

    Couplings across a periodic seam are left out. Without pivots, which an M-matrix does not need;
    a loop over layers is some 10 times faster than LAPACK's solves of one line after another.
    """

    axis: int
    below: Field
    inverse: Field
    above: Field

    @classmethod
    def of(cls, level: _Level, axis: int) -> "_Lines":
        """Factorise."""
        of_below, of_above, _ = level.couplings[axis]
        shape = level.diagonal.shape
        below, above = (
            jnp.moveaxis(jnp.broadcast_to(c, shape), axis, 0) for c in (of_below, of_above)
        )
        below, above = below.at[0].set(0.0), above.at[-1].set(0.0)

        def row(last: Array, entries: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            lower, upper = entries
            inverse = 1.0 / (1.0 - lower * last)
            return upper * inverse, (inverse, upper * inverse)

        _, (inverse, above) = lax.scan(row, jnp.zeros_like(below[0]), (below, above))
        return cls(axis, below, inverse, above)

    def solved(self, b: Field) -> Field:
        """The solution for a right-hand side, by forward and back substitution."""
        right = jnp.moveaxis(b, self.axis, 0)

        def forward(last: Array, entries: tuple[Array, ...]) -> tuple[Array, Array]:
            lower, inverse, value = entries
            found = (value + lower * last) * inverse
            return found, found

        def back(last: Array, entries: tuple[Array, ...]) -> tuple[Array, Array]:
            upper, value = entries
            found = value + upper * last
            return found, found

        none = jnp.zeros_like(right[0])
        _, half = lax.scan(forward, none, (self.below, self.inverse, right))
        _, found = lax.scan(back, none, (self.above, half), reverse=True)
        return jnp.moveaxis(found, 0, self.axis)


def multigrid_cycle(
    operator: Elliptic, *, cycles: int = 1, smoothing: int = 4, shape: Literal["V", "W"] = "V"
) -> Callable[[Field], Field]:
    """A linear map close to A^{-1}: cycles from zero; exact in one dimension between walls.

    `jax.linear_transpose` of the map gives that of A^T, so adjoint solves cost the same as forward
    ones; without drift the map is symmetric, like A, and positive definite, as conjugate gradients
    require (where cells differ in volume, after division by volumes only). Its derivative with
    respect to `operator` is that of A^{-1}.

    With a Krylov method the number of iterations hardly depends on the number of cells, nor on the
    contrast of a D that varies in layers, fronts or blocks of several cells. Where D jumps by 1e4
    from each cell to the next at random, no coarse grid can represent it and iterations grow
    (`benchmarks/preconditioner.py`). Axes are coarsened together once their spacings are similar;
    strong anisotropy of D is not handled, that of cells on stretched axes is (`Elliptic.lines`).

    **Arguments:**

    - `operator`: A. It must not be singular: with Neumann or periodic sides all around, r > 0 is
      required.
    - `cycles`: number of cycles, each applied to the previous residual.
    - `smoothing`: Jacobi sweeps before and after each coarse-grid correction; of sweeps by lines,
      that many divided by the number of axes along each.
    - `shape`: "V" visits each coarser grid once, "W" twice, which costs little on a machine with
      one level of memory and helps where a coarse grid represents the fine one poorly.

    **Returns:** the map b -> x of fields of the operator's shape and precision. The coarse
    operators, down to a single cell, are computed once, here.

    **Raises:** `InputError` for an unknown `shape`.

    Source: Trottenberg, Oosterlee and Schuller, "Multigrid", 2001; Wesseling, "Cell-centered
    multigrid for interface problems", J. Comput. Phys. 79 (1988); Adams et al., "Parallel multigrid
    smoothing: polynomial versus Gauss-Seidel", J. Comput. Phys. 188 (2003).
    """
    check_choice("shape", shape, ("V", "W"))
    if operator.isolated:
        return _of_the_others(operator, cycles, smoothing, shape)
    if operator.volumes is not None:
        volumes, whole = operator.volumes, operator.per_cell()
        inverse = multigrid_cycle(whole, cycles=cycles, smoothing=smoothing, shape=shape)
        return lambda b: inverse(volumes * b)
    solve = _cycles(operator, cycles, smoothing, shape)
    if operator.drift is None:
        return lambda b: lax.custom_linear_solve(operator, b, solve, symmetric=True)
    transposed = _cycles(operator.transposed(), cycles, smoothing, shape)
    return lambda b: lax.custom_linear_solve(operator, b, solve, transposed)


def _of_the_others(
    operator: Elliptic, cycles: int, smoothing: int, shape: Literal["V", "W"]
) -> Callable[[Field], Field]:
    """Cycles for the cells that have neighbours, and the exact inverse for those that have none."""
    others = dataclasses.replace(operator, isolated=False)
    inverse = multigrid_cycle(others, cycles=cycles, smoothing=smoothing, shape=shape)
    diagonal, coupled = operator.main_diagonal(), operator.has_neighbours()

    def solve(b: Field) -> Field:
        found = inverse(jnp.where(coupled, b, 0.0))
        return jnp.where(coupled, found, b / diagonal)

    return solve


def _cycles(
    operator: Elliptic, cycles: int, smoothing: int, shape: str
) -> Callable[[Any, Field], Field]:
    if len(operator.shape) == 1 and not operator.periodic[0]:
        approximate = _tridiagonal_inverse(operator)
    else:
        sweeps = max(smoothing // len(operator.shape), 1) if operator.lines else smoothing
        weights = _chebyshev(sweeps, *_SMOOTHED)
        if operator.drift is not None:
            weights = [_DAMPING] * sweeps
        approximate = _cycle(operator, weights, 1 if shape == "V" else 2)

    def solve(_, b: Field) -> Field:
        x = approximate(b)
        for _ in range(cycles - 1):
            x += approximate(b - operator(x))
        return x

    return solve


def _tridiagonal_inverse(operator: Elliptic) -> Callable[[Field], Field]:
    (up, down), middle = operator.outflows(0), operator.main_diagonal()
    none = jnp.zeros(1, middle.dtype)
    lower = jnp.concatenate([none, -up.inner])
    upper = jnp.concatenate([-down.inner, none])
    return lambda b: lax.linalg.tridiagonal_solve(lower, middle, upper, b[:, None])[:, 0]


def _cycle(operator: Elliptic, weights: list[float], visits: int) -> Callable[[Field], Field]:
    """The map x = cycle(b), symmetric by equal sweeps before and after the correction."""
    if operator.reaction.size == 1:
        # coarsen down to here: no dense solve, whose library calls can block each other inside XLA
        return lambda b: b / operator.main_diagonal()
    axes = _finest_axes(operator)
    level = _level(operator)
    coarser = operator.coarsened(axes)
    coarse = _cycle(coarser, weights, visits)

    def correction(b: Field) -> Field:
        if visits == 1 or coarser.reaction.size == 1:
            return coarse(b)

        def visit(x: Field, _: None) -> tuple[Field, None]:
            return x + coarse(b - coarser(x)), None

        return lax.scan(visit, jnp.zeros_like(b), length=visits)[0]

    if operator.lines:
        lines = [_Lines.of(level, axis) for axis in range(len(operator.shape))]

        def cycle_by_lines(b: Field) -> Field:
            scaled = b / level.diagonal
            x = _line_sweeps(level, lines, scaled, jnp.zeros_like(b), weights)
            left = level.diagonal * _defect(level, scaled, x)
            x += copy_to_pairs(correction(sum_over_pairs(left, axes)), axes, x.shape)
            return _line_sweeps(level, lines[::-1], scaled, x, weights)

        return cycle_by_lines

    def cycle(b: Field) -> Field:
        scaled = b / level.diagonal
        x = _sweeps(level, scaled, weights[0] * scaled, weights[1:])
        left = level.diagonal * _defect(level, scaled, x)
        x += copy_to_pairs(correction(sum_over_pairs(left, axes)), axes, x.shape)
        return _sweeps(level, scaled, x, weights)

    return cycle


def _finest_axes(operator: Elliptic) -> tuple[int, ...]:
    divisible = [axis for axis, n in enumerate(operator.shape) if n > 1]
    if operator.lines:
        return tuple(divisible)
    finest = min(operator.spacing[axis] for axis in divisible)
    return tuple(axis for axis in divisible if operator.spacing[axis] < _AS_FINE * finest)


def _level(operator: Elliptic) -> _Level:
    diagonal = operator.main_diagonal()
    couplings = []
    for axis in range(len(operator.faces)):
        up, down = operator.outflows(axis)
        wraps = operator.periodic[axis]
        # a wall's conductance is in the diagonal alone
        through = 1.0 if wraps else 0.0
        of_below = lower_faces(up.inner, through * up.lower, axis)
        of_above = upper_faces(down.inner, through * down.upper, axis)
        couplings.append(_Couplings(of_below / diagonal, of_above / diagonal, wraps))
    return _Level(diagonal, tuple(couplings))


def _sweeps(level: _Level, scaled: Field, x: Field, weights: list[float]) -> Field:
    """Jacobi sweeps, as a loop when traced.

    XLA would fuse chained stencils into one kernel that computes each point of the first many times
    over (30 x slower at 256 x 256).
    """

    def sweep(x: Field, weight: Array) -> tuple[Field, None]:
        return x + weight * _defect(level, scaled, x), None

    return lax.scan(sweep, x, jnp.asarray(weights, x.dtype))[0]


def _line_sweeps(
    level: _Level,
    lines: Sequence[_Lines],
    scaled: Field,
    x: Field,
    weights: list[float],
) -> Field:
    """Sweeps that solve for whole lines of cells at once, along one axis after another."""
    for along in lines:

        def sweep(x: Field, weight: Array, along: _Lines = along) -> tuple[Field, None]:
            return x + weight * along.solved(_defect(level, scaled, x)), None

        x = lax.scan(sweep, x, jnp.asarray(weights, x.dtype))[0]
    return x


def _defect(level: _Level, scaled: Field, x: Field) -> Field:
    """diagonal^{-1} (b - A x), for `scaled` = diagonal^{-1} b."""
    total = scaled - x
    for axis, (of_below, of_above, wraps) in enumerate(level.couplings):
        total += of_below * from_below(x, axis, wraps) + of_above * from_above(x, axis, wraps)
    return total


def _chebyshev(degree: int, low: float, high: float) -> list[float]:
    """Weights of Jacobi sweeps for the polynomial of that degree smallest on [low, high]."""
    angles = (math.pi * (2 * k + 1) / (2 * degree) for k in range(degree))
    return [2 / (high + low + (high - low) * math.cos(angle)) for angle in angles]
