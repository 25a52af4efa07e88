"""Implicit layers: root and fixed point, as differentiable functions of their parameters."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit._adjoint import AbstractAdjoint, ImplicitAdjoint
from impindiff.implicit._anderson import Anderson
from impindiff.implicit._newton_krylov import NewtonKrylov
from impindiff.implicit._optimistix_solver import adapted
from impindiff.implicit._status import Status
from impindiff.implicit.precision import InPrecisions
from impindiff.implicit.pytree import require_floating, result_dtype, tree_subtract
from impindiff.implicit.solver import AbstractRootSolver, Residual

Solver = AbstractRootSolver | optx.AbstractRootFinder | optx.AbstractFixedPointSolver
"""Solvers accepted by an implicit layer: this package's, and Optimistix's."""


def root(
    residual: Residual,
    z0: PyTree[ArrayLike],
    args: PyTree[Any] = None,
    *,
    solver: Solver | None = None,
    adjoint: AbstractAdjoint | None = None,
    probe: Float[Array, ""] | None = None,
    guess: PyTree[ArrayLike] | None = None,
) -> tuple[PyTree[Float[Array, "..."]], Status]:
    """Find z with F(z, args) = 0, differentiable in `args`.

    **Arguments:**

    - `residual`: F(z, args), a pytree of the structure, shapes and dtypes of `z0`. Closed-over
      values are differentiated too.
    - `z0`: first guess, real floating-point arrays. The gradient with respect to it is zero under
      `ImplicitAdjoint`: the root does not depend on the start of the search.
    - `solver`: default `NewtonKrylov()`. Optimistix's root finders are accepted, and fixed-point
      solvers (`Picard`, `Anderson`, Optimistix's), which then iterate z -> z - F(z).
    - `adjoint`: default `ImplicitAdjoint()`; `JacobianFree` (cheap, biased) or `Unrolled`
      (baseline).
    - `probe`: a zero scalar; see `ImplicitAdjoint`.
    - `guess`: start, used if the residual there is smaller than at `z0`. Tolerances still refer to
      ||F(z0)||.

    **Returns:** (z, status). A failed solve raises nothing and sets `status.converged` to False,
    under `vmap` for each sample separately.

    **Raises:** `InputError` for an empty `z0`, for leaves that are not real floating-point arrays,
    for a residual or a `guess` whose structure, shapes or dtypes differ from those of `z0`, for a
    `solver` that is not one of those above, for `optimistix.Bisection`, which needs an interval,
    and for `Unrolled` with a root finder of Optimistix.
    """
    solver = NewtonKrylov() if solver is None else solver
    adjoint = ImplicitAdjoint() if adjoint is None else adjoint
    z0 = jax.tree.map(jnp.asarray, z0)
    require_floating(z0, "root: z0")
    # a Python number that is being differentiated is traced as an array over a number; giving it
    # its dtype makes it an array in both senses
    args = jax.tree.map(lambda x: jnp.asarray(x, x.dtype) if eqx.is_array(x) else x, args)
    # Hoist values closed over by the residual, and by functions inside of `args`, so that they are
    # differentiated like `args`. Wrapped, since Equinox treats a function without a closure as
    # closing over nothing, although it may call others.
    converted = eqx.filter_closure_convert(lambda z, args: residual(z, args), z0, args)
    _check_like(
        jax.eval_shape(lambda: z0),
        eqx.filter_eval_shape(converted, z0, args),
        "residual(z0, args)",
    )
    lower = getattr(solver, "krylov_precision", None)
    if lower is not None and jnp.dtype(lower) != result_dtype(z0):
        converted = InPrecisions.of(residual, converted, z0, args, lower)
    if guess is not None:
        guess = jax.tree.map(jnp.asarray, guess)
        _check_like(jax.eval_shape(lambda: z0), jax.eval_shape(lambda: guess), "guess")
    return adjoint.solve(adapted(solver), converted, z0, args, probe, guess)


def fixed_point(
    g: Callable[[PyTree, PyTree], PyTree],
    z0: PyTree[ArrayLike],
    args: PyTree[Any] = None,
    *,
    solver: Solver | None = None,
    adjoint: AbstractAdjoint | None = None,
    probe: Float[Array, ""] | None = None,
    guess: PyTree[ArrayLike] | None = None,
) -> tuple[PyTree[Float[Array, "..."]], Status]:
    """Find z with z = g(z, args), differentiable in `args`: `root` of z - g(z, args).

    **Arguments:**

    - `g`: a pytree of the structure, shapes and dtypes of `z0`. Closed-over values are
      differentiated too.
    - `solver`: default `Anderson()`; any that `root` takes. For a batch of independent problems use
      `jax.vmap`: each then has its own mixing, tolerance and status.
    - others, the result and the errors: as for `root`; `status.residual` is that of g(z) - z.
    """

    def residual(z, args):
        value = g(z, args)
        _check_like(jax.eval_shape(lambda: z), jax.eval_shape(lambda: value), "g(z0, args)")
        return tree_subtract(z, value)

    solver = Anderson() if solver is None else solver
    return root(residual, z0, args, solver=solver, adjoint=adjoint, probe=probe, guess=guess)


def _check_like(unknown: PyTree, value: PyTree, name: str) -> None:
    """Raise `InputError` unless the shapes and dtypes of `value` are those of the unknown."""
    if jax.tree.structure(unknown) != jax.tree.structure(value):
        raise InputError(
            f"root: {name} has structure {jax.tree.structure(value)}; expected that "
            f"of z0, {jax.tree.structure(unknown)}"
        )
    paths = jax.tree_util.tree_flatten_with_path(unknown)[0]
    for (path, want), got in zip(paths, jax.tree.leaves(value), strict=True):
        if (want.shape, want.dtype) != (got.shape, got.dtype):
            raise InputError(
                f"root: {name}{jax.tree_util.keystr(path)} has shape {got.shape} and dtype "
                f"{got.dtype}; expected those of z0: {want.shape}, {want.dtype}"
            )
