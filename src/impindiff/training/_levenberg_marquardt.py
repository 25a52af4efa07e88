"""Levenberg-Marquardt, one trial at a time, for problems with few parameters.

Differences from Optimistix's, which `fit` takes too: it stops relative to the variation of the loss
from the data's noise, keeps the Jacobian for standard errors, and evaluates no point twice.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from impindiff.errors import InputError
from impindiff.rollout import Rollout
from impindiff.training._loss import TrajectoryLoss

_MAX_PARAMETERS = 200
# columns of a Jacobian in one pass, and in each pass if there are more
_MOST_AT_ONCE, _PASS = 64, 16
_MAX_DAMPING = 1e10
_FLAT = 1e-12


class Point(eqx.Module):
    """The best parameters so far, their misfit and Jacobian, and the damping of the next trial."""

    parameters: PyTree[Any]
    misfit: Float[Array, " observations"]
    jacobian: Float[Array, "observations parameters"]
    loss: Float[Array, ""]
    damping: Float[Array, ""]


class Trial(NamedTuple):
    """Result of a trial: the point to continue from, whether it was accepted, and its rollout."""

    point: Point
    taken: Bool[Array, ""]
    finished: Bool[Array, ""]
    rollout: Rollout
    gradient_norm: Float[Array, ""]


class LevenbergMarquardt(eqx.Module):
    """Minimise ||r(p)||^2 by trials p - (J^T J + mu diag(J^T J))^{-1} J^T r, with J = dr/dp.

    A trial that reduces the loss is accepted and mu divided by ten; otherwise, or if one of its
    solves fails, mu is multiplied by ten. J is exact: forward mode through the implicit steps, one
    linear solve per step and parameter, so a trial costs little more than 1 + parameters / 2
    rollouts. Finished when a trial's step is below `tolerance` relative to the parameters, when an
    accepted trial reduces the loss by less than `loss_tolerance` of it, or when the linear model of
    a trial promises less than 1e-12 of the loss, which round-off and solver tolerances hide.

    - `damping`: initial mu.
    - `tolerance`, `loss_tolerance`: see above. With N data weighted by their errors, 0.1 / N of the
      loss is a tenth of its variation from noise alone.

    Source: Marquardt, J. SIAM 11 (1963).
    """

    damping: float = 1e-3
    tolerance: float = 1e-8
    loss_tolerance: float = 0.0

    def gave_up(self, point: Point) -> Bool[Array, ""]:
        """True once trials were rejected until the damping was at its limit: no convergence."""
        return point.damping > _MAX_DAMPING

    def check(self, parameters: PyTree[Any]) -> None:
        """Raise `InputError` for more than 200 parameters, whose J would be too large."""
        require_few("levenberg_marquardt", parameters)

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: eqx.Module) -> Point:
        """The point before the first trial, which is the starting point itself.

        **Raises:** as `check`, and `InputError` for a loss that is more than a sum of squares.
        """
        self.check(parameters)
        if loss.penalty is not None:
            raise InputError(
                "training.optimizer: levenberg_marquardt minimises the misfit alone and the loss "
                "has a penalty; try lbfgs or adam, or leave the penalty out"
            )
        flat, _ = ravel_pytree(parameters)
        residuals = loss.number_of_residuals(eqx.combine(parameters, static))
        return Point(
            parameters=parameters,
            misfit=jnp.zeros(residuals, flat.dtype),
            jacobian=jnp.zeros((residuals, flat.size), flat.dtype),
            loss=jnp.asarray(jnp.inf, flat.dtype),
            damping=jnp.asarray(self.damping, flat.dtype),
        )

    def advance(self, point: Point, static: eqx.Module, loss: TrajectoryLoss) -> Trial:
        """One trial from `point`."""
        base, unravel = ravel_pytree(point.parameters)
        step = damped_step(point.jacobian, point.misfit, point.damping)
        trial = base - step

        def misfit(flat):
            return loss.misfit(eqx.combine(unravel(flat), static), None)

        value, jacobian, rollout = value_and_jacobian(misfit, trial)
        size = jnp.sum(value**2)
        usable = jnp.all(rollout.stats.converged) & jnp.all(jnp.isfinite(jacobian))
        first = jnp.isposinf(point.loss)
        taken = usable & (size < point.loss)
        new = Point(
            parameters=unravel(jnp.where(taken, trial, base)),
            misfit=jnp.where(taken, value, point.misfit),
            jacobian=jnp.where(taken, jacobian, point.jacobian),
            loss=jnp.where(taken, size, point.loss),
            damping=jnp.where(taken, 0.1, 10.0) * point.damping,
        )
        short = jnp.linalg.norm(step) <= self.tolerance * jnp.linalg.norm(base)
        settled = taken & (point.loss - size < self.loss_tolerance * point.loss)
        change = point.jacobian @ step
        promised = change @ (2 * point.misfit - change)
        # a heavily damped trial promises little far from the minimum too
        light = point.damping <= 1.0
        least = max(_FLAT, float(jnp.finfo(base.dtype).eps))
        flat = usable & light & (promised <= least * point.loss)
        return Trial(
            point=new,
            taken=taken,
            finished=~first & ((usable & short) | settled | flat | self.gave_up(new)),
            rollout=rollout,
            gradient_norm=2 * jnp.linalg.norm(new.jacobian.T @ new.misfit),
        )


def require_few(method: str, parameters: PyTree[Any]) -> None:
    """Raise `InputError`, naming the method, for too many parameters for a Jacobian."""
    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    if count > _MAX_PARAMETERS:
        raise InputError(
            f"training.optimizer: {method} is for at most {_MAX_PARAMETERS} parameters, the model "
            f"has {count}; try lbfgs or adam"
        )


def value_and_jacobian(function: Any, x: Float[Array, " n"]) -> tuple[Array, Array, Any]:
    """(r, dr/dx, aux) of `function(x) -> (r, aux)` by forward mode.

    Up to 64 columns in one pass; of more, 16 at a time, for their memory.
    """
    columns = jnp.eye(x.size, dtype=x.dtype)
    if x.size > _MOST_AT_ONCE:
        value, along, aux = jax.linearize(function, x, has_aux=True)
        return value, jax.lax.map(along, columns, batch_size=_PASS).T, aux

    def both(direction):
        return jax.jvp(function, (x,), (direction,), has_aux=True)

    value, jacobian, aux = jax.vmap(both, out_axes=(None, 1, None))(columns)
    return value, jacobian, aux


def damped_step(
    jacobian: Float[Array, "m n"], misfit: Float[Array, " m"], damping: Float[Array, ""]
) -> Float[Array, " n"]:
    """Solve (J^T J + mu diag(J^T J))^{-1} J^T r by least squares; 0 where J is 0.

    Columns are scaled to unit length, for invariance to units.
    """
    lengths = jnp.linalg.norm(jacobian, axis=0)
    lengths = jnp.where(lengths > 0, lengths, 1.0)
    n = jacobian.shape[1]
    below = jnp.sqrt(damping) * jnp.eye(n, dtype=jacobian.dtype)
    rows = jnp.concatenate([jacobian / lengths, below])
    right = jnp.concatenate([misfit, jnp.zeros(n, misfit.dtype)])
    solution, *_ = jnp.linalg.lstsq(rows, right)
    return solution / lengths
