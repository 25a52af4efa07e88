"""Optimistix's minimisers and least-squares solvers, one step at a time."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, PyTree

from impindiff.errors import InputError
from impindiff.training._levenberg_marquardt import require_few, value_and_jacobian
from impindiff.training._loss import TrajectoryLoss

OptimistixMethod = optx.AbstractMinimiser | optx.AbstractLeastSquaresSolver
_NO_TAGS: frozenset[object] = frozenset()


class Advanced(NamedTuple):
    """Result of a step: the next parameters, the arrays of the method's state, and its end.

    `broken` is True if the method cannot continue.
    """

    parameters: PyTree[Any]
    arrays: list[Array]
    finished: Bool[Array, ""]
    broken: Bool[Array, ""]


def start(
    method: OptimistixMethod, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any
) -> list[Array]:
    """The arrays of the method's state before its first step.

    **Raises:** `InputError`, for least-squares solvers, for a loss that is more than a sum of
    squares and for too many parameters for a Jacobian.
    """
    if isinstance(method, optx.AbstractLeastSquaresSolver):
        name = f"optimistix.{type(method).__name__}"
        require_few(name, parameters)
        if loss.penalty is not None:
            raise InputError(
                f"fit: {name} minimises the misfit alone and the loss has a penalty; try "
                "optimistix.BFGS, or leave the penalty out"
            )
    return _arrays(_initial(method, _function(method, loss, static), parameters))


def advance(
    method: OptimistixMethod,
    arrays: list[Array],
    parameters: PyTree[Any],
    loss: TrajectoryLoss,
    static: Any,
) -> Advanced:
    """One step of the method, usually one evaluation of the loss; `arrays` are those of `start`.

    Other parts of the state (the functions of linear operators) are rebuilt at each trace.
    """
    function = _function(method, loss, static)
    like = eqx.filter_eval_shape(lambda p: _initial(method, function, p), parameters)
    shapes, rest = eqx.partition(like, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    state = eqx.combine(jax.tree.unflatten(jax.tree.structure(shapes), arrays), rest)
    found, new, _ = method.step(function, parameters, None, {}, state, _NO_TAGS)
    done, result = method.terminate(function, found, None, {}, new, _NO_TAGS)
    done = jnp.asarray(done)
    return Advanced(
        parameters=found,
        arrays=_arrays(new),
        finished=done,
        broken=(result != optx.RESULTS.successful) & ~done,
    )


def _initial(method: Any, function: Any, parameters: PyTree[Any]) -> Any:
    value, aux = jax.eval_shape(function, parameters, None)
    return method.init(function, parameters, None, {}, value, aux, _NO_TAGS)


def _arrays(state: Any) -> list[Array]:
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_array))]


def _function(method: OptimistixMethod, loss: TrajectoryLoss, static: Any) -> Any:
    """The function to minimise, NaN where a solve fails, so that such trials are rejected."""
    if isinstance(method, optx.AbstractMinimiser):

        def value(parameters, _):
            model = eqx.combine(parameters, static)
            found, result = loss(model, loss.probe(model))
            return jnp.where(jnp.all(result.stats.converged), found, jnp.nan), None

        return value

    def residuals(parameters):
        found, result = loss.misfit(eqx.combine(parameters, static), None)
        return jnp.where(jnp.all(result.stats.converged), found, jnp.nan), None

    # The method keeps its linearisation between steps. As a Jacobian matrix it is small, and of the
    # same shape for any length of the rollout.
    linearised = jax.custom_jvp(lambda parameters: residuals(parameters)[0])

    @linearised.defjvp
    def _(primals, tangents):
        flat, unravel = ravel_pytree(primals[0])
        found, jacobian, _ = value_and_jacobian(lambda p: residuals(unravel(p)), flat)
        return found, jacobian @ ravel_pytree(tangents[0])[0]

    return lambda parameters, _: (linearised(parameters), None)
