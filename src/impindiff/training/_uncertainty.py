"""Standard errors of identified numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from impindiff.training._levenberg_marquardt import covariance, value_and_jacobian
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._parts import partition, path_text

Linearization = tuple[Float[Array, " m"], Float[Array, "m n"]]
"""Misfit and its Jacobian in the parameters."""

M = TypeVar("M", bound=eqx.Module)


@dataclass(frozen=True)
class FlatParameters(Generic[M]):
    """The floating-point arrays of a model flattened, in the order of a Jacobian's columns.

    - `values`: (n,).
    - `names`: the path of each in the model, such as "transport.closure.log_slopes[2]".
    - `model`: builds the model with other values.
    """

    values: Float[Array, " n"]
    names: tuple[str, ...]
    model: Callable[[Float[Array, " n"]], M]


def flat_parameters(model: M, freeze: Sequence[str] = ()) -> FlatParameters[M]:
    """Flatten a model's parameters; parts in `freeze` are left out."""
    parameters, static = partition(model, freeze)
    flat, unravel = ravel_pytree(parameters)
    names = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(parameters)[0]:
        place = path_text(path)
        places = [f"{place}[{i}]" for i in range(leaf.size)] if leaf.ndim else [place]
        names.extend(places)
    return FlatParameters(flat, tuple(names), lambda values: eqx.combine(unravel(values), static))


def standard_errors(
    quantities: Callable[[M], dict[str, Float[Array, ""]]],
    model: M,
    loss: TrajectoryLoss,
    linearization: Linearization | None = None,
    freeze: Sequence[str] = (),
) -> dict[str, Float[Array, ""]]:
    """Standard errors of scalar `quantities` of a fitted model, from `covariance`.

    Errors are propagated to first order: (g^T C g)^{1/2}, g = dq/dp. For models of few parameters,
    since the Jacobian has a column for each. `linearization` is misfit and Jacobian at the model's
    parameters, if known already, as after Levenberg-Marquardt. Parts of the model in `freeze` count
    as known.
    """
    flat, loss = flat_parameters(model, freeze), loss.forwards()

    @jax.jit
    def linearize(values):
        return value_and_jacobian(lambda v: loss.misfit(flat.model(v), None), values)[:2]

    if linearization is None:
        value, jacobian = linearize(flat.values)
        counts = loss.residuals_that_count(len(value))
        value, jacobian = value[counts], jacobian[counts]
    else:
        value, jacobian = linearization
    of_parameters = covariance(jacobian, value)
    slopes = jax.jacobian(lambda values: quantities(flat.model(values)))(flat.values)
    return jax.tree.map(lambda g: jnp.sqrt(g @ of_parameters @ g), slopes)
