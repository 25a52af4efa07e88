"""Anderson acceleration of a fixed-point iteration.

Differences from the textbook (type II, in differences): the columns of the least-squares problem
are scaled to unit length and regularised by rows below them before the QR factorisation, so an
incomplete or nearly dependent history needs no special case; a residual that has grown too far
makes the method return to its best point, clear its history and halve the relaxation.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit._fixed_point_iteration import AbstractFixedPointIteration, Progress
from impindiff.implicit.components import Components
from impindiff.implicit.pytree import all_finite, rms_norm, tree_where

_MAX_RESTARTS = 12


class _History(eqx.Module):
    """The last differences of points and of changes (a row each), and the last of both."""

    points: Float[Array, "depth unknowns"]
    changes: Float[Array, "depth unknowns"]
    last_point: Float[Array, " unknowns"]
    last_change: Float[Array, " unknowns"]
    best_change: Float[Array, " unknowns"]
    count: Int[Array, ""]
    relaxation: Float[Array, ""]
    restarts: Int[Array, ""]


class Anderson(AbstractFixedPointIteration):
    """Anderson acceleration z_{k+1} = z_k + beta f_k - sum_j gamma_j (dz_j + beta df_j).

    With f = g(z) - z, dz_j and df_j are the last `depth` differences of points and of f, and gamma
    minimises ||f_k - sum_j gamma_j df_j||. For a linear g it is, in exact arithmetic, essentially
    equivalent to GMRES until `depth` differences are kept, and then to a GMRES that is restarted
    softly; it needs no derivative of g.

    - `rtol`, `atol`: see `AbstractFixedPointIteration`; default rtol eps**0.5.
    - `max_iterations`: an iteration costs one evaluation of g and a QR factorisation of (unknowns x
      depth).
    - `depth`: differences kept.
    - `relaxation`: beta.
    - `regularization`: of the least-squares problem whose columns have unit length; default
      eps**0.5.
    - `growth`: the safeguard. Once the residual exceeds the smallest one seen by this factor, or is
      not finite, return to the best point with an empty history and half the relaxation; after 12
      such restarts the iteration counts as diverged.

    Under `jax.vmap` each sample has its own history, mixing and restarts. This is an Optimistix
    solver: it also runs under `optimistix.fixed_point`.

    Source: Walker and Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal.
    49 (2011); Anderson, J. ACM 12 (1965).
    """

    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 200
    depth: int = 10
    relaxation: float = 1.0
    regularization: float | None = None
    growth: float = 1e3
    norm: Callable[[PyTree], Array] = rms_norm

    def start(self, y: PyTree) -> _History:
        """An empty history."""
        flat, _ = ravel_pytree(y)
        empty = jnp.zeros((self.depth, flat.size), flat.dtype)
        zero = jnp.zeros_like(flat)
        none = jnp.zeros((), jnp.int32)
        beta = jnp.asarray(self.relaxation, flat.dtype)
        return _History(empty, empty, zero, zero, zero, none, beta, none)

    def propose(self, y: PyTree, change: PyTree, progress: Progress) -> tuple[PyTree, _History]:
        """Propose the next point by the formula above."""
        old: _History = progress.memory
        z, unravel = ravel_pytree(y)
        f, _ = ravel_pytree(change)
        improved = progress.since_best == 0
        best_change = jnp.where(improved, f, old.best_change)

        # rows are replaced in turn; their order is irrelevant in the least-squares problem
        row = jnp.maximum(old.count - 1, 0) % self.depth
        has_difference = old.count > 0
        points = jnp.where(has_difference, old.points.at[row].set(z - old.last_point), old.points)
        changes = jnp.where(
            has_difference, old.changes.at[row].set(f - old.last_change), old.changes
        )
        # scale so that each component weighs the same in the least-squares problem
        components, size = Components(y), progress.unknown
        scale = jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)
        weights, _ = ravel_pytree(components.times(1 / scale, jax.tree.map(jnp.ones_like, y)))
        gamma = self._mixing(changes * weights[None, :], f * weights)
        beta = old.relaxation
        mixed = z + beta * f - gamma @ (points + beta * changes)
        kept = _History(points, changes, z, f, best_change, old.count + 1, beta, old.restarts)

        restarted = eqx.tree_at(
            lambda h: (h.relaxation, h.restarts), self.start(y), (0.5 * beta, old.restarts + 1)
        )
        restarted = eqx.tree_at(lambda h: h.best_change, restarted, best_change)
        best, _ = ravel_pytree(progress.best)
        again = best + 0.5 * beta * best_change

        lost = ~(progress.size <= self.growth * progress.best_size) | ~all_finite(mixed)
        return unravel(jnp.where(lost, again, mixed)), tree_where(lost, restarted, kept)

    def gave_up(self, progress: Progress) -> Bool[Array, ""]:
        """True after too many restarts."""
        return progress.memory.restarts > _MAX_RESTARTS

    def _mixing(
        self, changes: Float[Array, "depth unknowns"], f: Float[Array, " unknowns"]
    ) -> Float[Array, " depth"]:
        lengths = jax.lax.stop_gradient(jnp.linalg.norm(changes, axis=1))
        lengths = jnp.where(lengths > 0, lengths, 1.0)
        eps = float(jnp.finfo(f.dtype).eps)
        weight = eps**0.5 if self.regularization is None else self.regularization
        columns = (changes / lengths[:, None]).T
        below = weight * jnp.eye(self.depth, dtype=f.dtype)
        q, r = jnp.linalg.qr(jnp.concatenate([columns, below]))
        projected = q[: f.size].T @ f
        return jax.scipy.linalg.solve_triangular(r, projected) / lengths
