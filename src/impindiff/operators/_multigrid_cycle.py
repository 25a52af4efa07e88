"""Geometric multigrid for elliptic operators, with or without drift, as a preconditioner.

Differences from the textbook: coarse operators are not rediscretised but conductances of aggregates
in series (`Stencil.coarsened`), which handles jumping coefficients; the transfer is piecewise
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
from impindiff.operators._faces import check_choice, fields_are_spread
from impindiff.operators._stencil import Level, Stencil, Through, next_to

# part of the spectrum of D^{-1} A that smoothing must damp, invisible on coarse grids
_SMOOTHED = (0.4, 2.0)
# damping of Jacobi's iteration with drift
_DAMPING = 0.8
# axes less than this times as wide as the finest are coarsened with it: left alone, they would be
# finer than it afterwards, and by more
_AS_FINE = math.sqrt(2.0)
# Coarse grids from one on that has this part of the finest's cells, but at least and at most so
# many, share one program. All take as long as the first of them: up to here that is not noticed.
_SMALL_PART = 1 / 64
_SMALL = (256, 4096)

Field = Float[Array, "*cells"]


class _Lines(NamedTuple):
    """LU factors of I - couplings along one axis, which is the first of these arrays.

    Couplings across a periodic seam are left out. Without pivots, which an M-matrix does not need;
    a loop over layers is some 10 times faster than LAPACK's solves of one line after another.
    """

    below: Field
    inverse: Field
    above: Field

    @classmethod
    def of(cls, level: Level, axis: int, n: Any) -> "_Lines":
        """Factorise, with n cells along the axis."""
        below, above = (jnp.moveaxis(c, axis, 0) for c in level.couplings[axis])
        seam = jnp.arange(len(above)).reshape(-1, *[1] * (above.ndim - 1)) == n - 1
        below, above = below.at[0].set(0.0), jnp.where(seam, 0.0, above)

        def row(last: Array, entries: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            lower, upper = entries
            inverse = 1.0 / (1.0 - lower * last)
            return upper * inverse, (inverse, upper * inverse)

        _, (inverse, above) = lax.scan(row, jnp.zeros_like(below[0]), (below, above))
        return cls(below, inverse, above)

    def solved(self, b: Field, axis: int) -> Field:
        """The solution for a right-hand side, by forward and back substitution."""
        right = jnp.moveaxis(b, axis, 0)

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
        return jnp.moveaxis(found, 0, axis)


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
        visits = 1 if shape == "V" else 2
        small = min(max(_SMALL_PART * operator.reaction.size, _SMALL[0]), _SMALL[1])
        if visits > 1 or fields_are_spread():
            small = 0
        smoother = _Smoother(weights, operator.periodic, operator.lines, small)
        approximate = _cycle(Stencil.of(operator), operator.spacing, smoother, visits)

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


class _Smoother(NamedTuple):
    """Sweeps on grids of any size: Jacobi's, or those that solve for whole lines of cells.

    - `small`: cells of a grid from which on coarser ones share one program; 0 for none.
    """

    weights: list[float]
    periodic: tuple[bool, ...]
    lines: bool
    small: float

    def factors(self, level: Level, cells: Sequence[Any]) -> list[_Lines]:
        """Factors for sweeps along lines, for each axis."""
        axes = range(len(cells)) if self.lines else ()
        return [_Lines.of(level, axis, cells[axis]) for axis in axes]

    def before(
        self, level: Level, lines: list[_Lines], scaled: Field, cells: Sequence[Any]
    ) -> Field:
        """Sweeps from 0."""
        if self.lines:
            return self._line_sweeps(level, lines, scaled, jnp.zeros_like(scaled), cells, 1)
        return self._sweeps(level, scaled, self.weights[0] * scaled, self.weights[1:], cells)

    def after(
        self, level: Level, lines: list[_Lines], scaled: Field, x: Field, cells: Sequence[Any]
    ) -> Field:
        """Sweeps from x, the transpose of those before."""
        if self.lines:
            return self._line_sweeps(level, lines, scaled, x, cells, -1)
        return self._sweeps(level, scaled, x, self.weights, cells)

    def defect(self, level: Level, scaled: Field, x: Field, cells: Sequence[Any]) -> Field:
        """diagonal^{-1} (b - A x), for `scaled` = diagonal^{-1} b."""
        total = scaled - x
        for axis, wraps in enumerate(self.periodic):
            for side, step in enumerate((-1, 1)):
                near = next_to(x, axis, step, wraps, cells[axis])
                total += level.couplings[axis, side] * near
        return total

    def _sweeps(
        self, level: Level, scaled: Field, x: Field, weights: list[float], cells: Sequence[Any]
    ) -> Field:
        """Jacobi sweeps, as a loop when traced.

        XLA would fuse chained stencils into one kernel that computes each point of the first many
        times over (30 x slower at 256 x 256).
        """

        def sweep(x: Field, weight: Array) -> tuple[Field, None]:
            return x + weight * self.defect(level, scaled, x, cells), None

        return lax.scan(sweep, x, jnp.asarray(weights, x.dtype))[0]

    def _line_sweeps(
        self,
        level: Level,
        lines: list[_Lines],
        scaled: Field,
        x: Field,
        cells: Sequence[Any],
        order: int,
    ) -> Field:
        for axis, along in list(enumerate(lines))[::order]:

            def sweep(
                x: Field, weight: Array, along: _Lines = along, axis: int = axis
            ) -> tuple[Field, None]:
                left = self.defect(level, scaled, x, cells)
                return x + weight * along.solved(left, axis), None

            x = lax.scan(sweep, x, jnp.asarray(self.weights, x.dtype))[0]
        return x


def _cycle(
    stencil: Stencil, spacing: tuple[float, ...], smoother: _Smoother, visits: int
) -> Callable[[Field], Field]:
    """The map x = cycle(b), symmetric by equal sweeps before and after the correction."""
    cells = stencil.reaction.shape
    if stencil.reaction.size == 1:
        # coarsen down to here: no dense solve, whose library calls can block each other inside XLA
        diagonal = stencil.level(cells, smoother.periodic).diagonal
        return lambda b: b / diagonal
    divisible = [axis for axis, n in enumerate(cells) if n > 1]
    finest = min(spacing[axis] for axis in divisible)
    axes = tuple(a for a in divisible if smoother.lines or spacing[a] < _AS_FINE * finest)
    if stencil.reaction.size <= smoother.small and len(axes) == len(divisible):
        return _cycle_of_small_grids(stencil, smoother)
    level = stencil.level(cells, smoother.periodic)
    lines = smoother.factors(level, cells)
    coarser = stencil.coarsened(axes, cells, smoother.periodic)
    widths = tuple(h * (2 if i in axes else 1) for i, h in enumerate(spacing))
    coarse = _cycle(coarser, widths, smoother, visits)

    def correction(b: Field) -> Field:
        if visits == 1 or coarser.reaction.size == 1:
            return coarse(b)
        counts = coarser.reaction.shape
        below = coarser.level(counts, smoother.periodic)

        def visit(x: Field, _: None) -> tuple[Field, None]:
            left = below.diagonal * smoother.defect(below, b / below.diagonal, x, counts)
            return x + coarse(left), None

        return lax.scan(visit, jnp.zeros_like(b), length=visits)[0]

    def cycle(b: Field) -> Field:
        scaled = b / level.diagonal
        x = smoother.before(level, lines, scaled, cells)
        left = level.diagonal * smoother.defect(level, scaled, x, cells)
        x += copy_to_pairs(correction(sum_over_pairs(left, axes)), axes, x.shape)
        return smoother.after(level, lines, scaled, x, cells)

    return cycle


def _cycle_of_small_grids(stencil: Stencil, smoother: _Smoother) -> Callable[[Field], Field]:
    """The cycle from here to a single cell by loops over the grids, all in arrays of one size.

    A program has each grid's part once only, and grids this small take as long as their loops.
    """
    cells = stencil.reaction.shape
    axes = tuple(range(len(cells)))
    depth = (max(cells) - 1).bit_length()
    # half of the arrays holds the next grid; an array of odd size would have to be padded each time
    sides = tuple(2 * ((n + 1) // 2) if n > 1 else 1 for n in cells)
    counts = jnp.asarray([[-(-n // 2**k) for n in cells] for k in range(depth)], jnp.int32)

    def fitted(x: Array, to: tuple[int, ...] = sides) -> Array:
        """Fields with zeros in what has no cell."""
        widths = [m - n for m, n in zip(to, x.shape[-len(to) :], strict=True)]
        return jnp.pad(x, [(0, 0)] * (x.ndim - len(to)) + [(0, w) for w in widths])

    def fitted_faces(faces: Through) -> Through:
        layers = [tuple(1 if i == axis else m for i, m in enumerate(sides)) for axis in axes]
        return Through(fitted(faces.upper), tuple(map(fitted, faces.lower, layers)))

    def fitted_grid(grid: Stencil) -> Stencil:
        drift = None if grid.drift is None else fitted_faces(grid.drift)
        return Stencil(fitted_faces(grid.conductances), drift, fitted(grid.reaction))

    def next_grid(grid: Stencil, counts: Array) -> tuple[Stencil, tuple[Level, list[_Lines]]]:
        level = grid.level(list(counts), smoother.periodic)
        coarser = grid.coarsened(axes, list(counts), smoother.periodic)
        return fitted_grid(coarser), (level, smoother.factors(level, list(counts)))

    single, grids = lax.scan(next_grid, fitted_grid(stencil), counts)
    last = single.level([1] * len(cells), smoother.periodic).diagonal

    def cycle(b: Field) -> Field:
        def down(b: Field, grid: Any) -> tuple[Field, tuple[Field, Field]]:
            (level, lines), counts = grid
            scaled = b / level.diagonal
            x = smoother.before(level, lines, scaled, list(counts))
            left = level.diagonal * smoother.defect(level, scaled, x, list(counts))
            return fitted(sum_over_pairs(left, axes)), (scaled, x)

        def up(correction: Field, grid: Any) -> tuple[Field, None]:
            (level, lines), counts, (scaled, x) = grid
            half = tuple((m + 1) // 2 for m in sides)
            x += copy_to_pairs(lax.slice(correction, (0,) * len(half), half), axes, sides)
            return smoother.after(level, lines, scaled, x, list(counts)), None

        b, found = lax.scan(down, fitted(b), (grids, counts))
        x, _ = lax.scan(up, b / last, (grids, counts, found), reverse=True)
        return lax.slice(x, (0,) * len(cells), cells)

    return cycle


def _chebyshev(degree: int, low: float, high: float) -> list[float]:
    """Weights of Jacobi sweeps for the polynomial of that degree smallest on [low, high]."""
    angles = (math.pi * (2 * k + 1) / (2 * degree) for k in range(degree))
    return [2 / (high + low + (high - low) * math.cos(angle)) for angle in angles]
