"""The implicit layer: the root of a residual, as a differentiable function of its parameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit.gradient import AbstractGradient, ImplicitAdjoint
from impindiff.implicit.newton_krylov import NewtonKrylov
from impindiff.implicit.optimistix_solver import OptimistixRoot
from impindiff.implicit.pytree import require_floating
from impindiff.implicit.solver import AbstractRootSolver, Residual
from impindiff.implicit.status import Status


def root(
    residual: Residual,
    z0: PyTree[ArrayLike],
    args: PyTree[Any] = None,
    *,
    solver: AbstractRootSolver | optx.AbstractRootFinder | None = None,
    gradient: AbstractGradient | None = None,
    probe: Float[Array, ""] | None = None,
) -> tuple[PyTree[Float[Array, "..."]], Status]:
    """Find z with F(z, args) = 0, differentiable in `args`.

    - `residual`: F(z, args), a pytree of the structure, shapes and dtypes of `z0`. Values that it
      closes over are differentiated too.
    - `z0`: first guess, real floating-point arrays. The gradient with respect to it is zero under
      `ImplicitAdjoint`: the root does not depend on where the search began.
    - `solver`: default `NewtonKrylov()`. Optimistix root finders are accepted.
    - `gradient`: default `ImplicitAdjoint()`.
    - `probe`: a zero scalar; see `ImplicitAdjoint`.

    Returns (z, status). Nothing is raised when the solve fails: `status.converged` says so, and
    under `vmap` it does for each sample on its own.

    Raises `InputError` for an empty `z0`, for leaves that are not real floating-point arrays, and
    for a residual whose structure differs from that of `z0`.
    """
    solver = NewtonKrylov() if solver is None else solver
    gradient = ImplicitAdjoint() if gradient is None else gradient
    if isinstance(solver, optx.AbstractRootFinder):
        solver = OptimistixRoot(finder=solver)
    z0 = jax.tree.map(jnp.asarray, z0)
    require_floating(z0, "root: z0")
    # A Python number that is being differentiated is traced as an array over a number; giving it
    # its dtype makes it an array in both senses.
    args = jax.tree.map(lambda x: jnp.asarray(x, x.dtype) if eqx.is_array(x) else x, args)
    # Hoists what the residual closes over, so that it is differentiated like `args`.
    converted = eqx.filter_closure_convert(residual, z0, args)
    _check_residual(jax.eval_shape(lambda: z0), eqx.filter_eval_shape(converted, z0, args))
    return gradient.solve(solver, converted, z0, args, probe)


def _check_residual(unknown: PyTree, value: PyTree) -> None:
    if jax.tree.structure(unknown) != jax.tree.structure(value):
        raise InputError(
            f"root: residual(z0, args) has structure {jax.tree.structure(value)}; expected that "
            f"of z0, {jax.tree.structure(unknown)}"
        )
    paths = jax.tree_util.tree_flatten_with_path(unknown)[0]
    for (path, want), got in zip(paths, jax.tree.leaves(value), strict=True):
        if (want.shape, want.dtype) != (got.shape, got.dtype):
            raise InputError(
                f"root: residual{jax.tree_util.keystr(path)} has shape {got.shape} and dtype "
                f"{got.dtype}; expected those of z0: {want.shape}, {want.dtype}"
            )
