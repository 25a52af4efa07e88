"""Gaussian posterior of a fitted model's parameters, and of anything computed from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError
from impindiff.training import TrajectoryLoss, partition, path_text, value_and_jacobian

Linearization = tuple[Float[Array, " m"], Float[Array, "m n"]]
"""Misfit and its Jacobian in the parameters."""

M = TypeVar("M", bound=eqx.Module)

_MOST_EXACT = 500
# of the randomised method: the leading directions, and some more for their accuracy
_RANK, _MORE = 100, 10
_DRAWS = 200
# derivatives along directions at a time, for their memory
_AT_ONCE = 16
_EVIDENCE_ITERATIONS = 100


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


@dataclass(frozen=True)
class Posterior(Generic[M]):
    r"""Gaussian approximation $N(\hat p, C)$, $C = F F^T$, of the posterior at a fit.

    - `parameters`: the fitted ones, $\hat p$, with their names.
    - `factor`: F, (n, k).
    - `error_scale`: standard deviation of the data's errors, as a multiple of the given ones: 1 if
      these are believed; estimated from the residuals otherwise.
    - `prior_deviation`: standard deviation of the parameters' prior; None without one.
    - `to_minimum`: the change of the parameters to the minimum of the loss, by a Gauss-Newton step,
      (n,): of the size of the standard errors or more, training has not converged. None where it
      was not computed.
    """

    parameters: FlatParameters[M]
    factor: Float[Array, "n k"]
    error_scale: Float[Array, ""]
    prior_deviation: Float[Array, ""] | float | None = None
    to_minimum: Float[Array, " n"] | None = None

    @property
    def covariance(self) -> Float[Array, "n n"]:
        """The covariance C of the parameters."""
        return self.factor @ self.factor.T

    def standard_deviation(self, quantity: Callable[[M], PyTree[Array]]) -> PyTree[Array]:
        r"""Standard deviation of each entry of `quantity(model)`, to first order.

        $\sigma_i = (\sum_j (dq_i \cdot F_j)^2)^{1/2}$: one derivative in forward mode for each
        column of F. For fields, closures and forecasts: a forecast's quantity is its rollout's
        states (with `StoreStates`, which has forward mode).

        - `quantity`: a differentiable function of the model; any pytree of arrays.
        """
        flat = self.parameters

        def of(values: Array) -> PyTree[Array]:
            return quantity(flat.model(values))

        @jax.jit
        def total(values: Array, factor: Array) -> PyTree[Array]:
            # summed as they come: a forecast's derivatives along all columns are many arrays
            zero = jax.tree.map(
                lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of, values)
            )

            def add(sums: PyTree[Array], column: Array) -> tuple[PyTree[Array], None]:
                slope = jax.jvp(of, (values,), (column,))[1]
                return jax.tree.map(lambda s, d: s + d**2, sums, slope), None

            return jax.lax.scan(add, zero, factor.T)[0]

        return jax.tree.map(jnp.sqrt, total(flat.values, self.factor))

    def change_to_minimum(self, quantity: Callable[[M], PyTree[Array]]) -> PyTree[Array]:
        """Change of `quantity(model)` from the fit to the minimum of the loss, to first order.

        **Raises:** `InputError` for a posterior from the randomised method, which does not know it.
        """
        flat = self.parameters
        if self.to_minimum is None:
            raise InputError(
                f"change_to_minimum: known for up to {_MOST_EXACT} parameters; the model has "
                f"{len(flat.names)}"
            )
        along = (flat.values,), (self.to_minimum.astype(flat.values.dtype),)
        return jax.jvp(lambda values: quantity(flat.model(values)), *along)[1]

    def draws(self, key: PRNGKeyArray, number: int) -> list[M]:
        """Draw models from the posterior."""
        normal = jax.random.normal(key, (number, self.factor.shape[1]), self.factor.dtype)
        return [self.parameters.model(self.parameters.values + self.factor @ z) for z in normal]


def laplace(
    model: M,
    loss: TrajectoryLoss,
    *,
    freeze: Sequence[str] = (),
    errors: Literal["estimated", "given"] = "estimated",
    prior_deviation: float | None = None,
    linearization: Linearization | None = None,
    key: PRNGKeyArray | None = None,
) -> Posterior[M]:
    r"""The Laplace approximation of the posterior, with the Gauss-Newton matrix.

    With the weighted residuals r, J = dr/dp at the fit and errors of size s,
    $$C = (J^T J / s^2 + I / \tau^2)^{-1},$$
    without the second term if there is no prior besides the loss's own, whose residuals are rows of
    J. It is exact for a model that is linear in its parameters, and close where the posterior is
    narrow against the curvature of the model.

    Estimated errors hold for independent ones of equal variance; in data without noise they reflect
    those of the discretisation.

    Up to 500 parameters J is computed whole, in forward mode. Beyond, its leading directions come
    from a randomised method with 110 products with J and as many with its transpose (adjoint
    solves), twice, and F holds 200 draws; a prior is needed then.

    **Arguments:**

    - `model`: fitted, at a minimum of `loss`.
    - `freeze`: parts of the model that count as known.
    - `errors`: "given": the loss's weights are one over the data's standard deviations, s = 1;
      "estimated": their relative sizes are right, s^2 = ||r||^2 / (m - n), n the number of
      parameters that the data determine.
    - `prior_deviation`: $\tau$, of an independent prior on each parameter around its fitted value;
      None: without one up to 500 parameters, beyond by maximising the marginal likelihood.
    - `linearization`: misfit and Jacobian at the model's parameters, if known already, as after
      Levenberg-Marquardt.
    - `key`: for the randomised method; default a fixed one.

    **Returns:** the posterior; its factor is not finite where the data leave a parameter
    undetermined.

    **Raises:** `InputError` for a loss with a penalty, which is no sum of squares.

    Source: MacKay, "A practical Bayesian framework for backpropagation networks", Neural
    Computation 4 (1992); Seber and Wild, Nonlinear Regression, 1989, section 2.1; Halko,
    Martinsson and Tropp, SIAM Review 53 (2011), algorithm 5.1.
    """
    if loss.penalty is not None:
        raise InputError(
            "laplace: the loss has a penalty, which is no sum of squares; give it as residuals "
            "(`prior`), or leave it out"
        )
    flat = flat_parameters(model, freeze)
    if linearization is None and len(flat.names) > _MOST_EXACT:
        chosen = jax.random.key(0) if key is None else key
        return _low_rank(flat, loss, errors, prior_deviation, chosen)
    misfit, jacobian = linearization or linearized(model, loss, freeze)
    m, n = jacobian.shape
    if prior_deviation is None:
        scale = _error_scale(loss, misfit, m - n, errors)
        root = _root_of_inverse(jacobian)
        step = -root @ (root.T @ (jacobian.T @ misfit))
        return Posterior(flat, scale / loss.size() * root, scale, to_minimum=step)
    # the number of parameters that the data determine depends on the errors' size, and the reverse
    values, vectors = jnp.linalg.eigh(jacobian.T @ jacobian)
    scale, spectrum = _error_scale(loss, misfit, m, errors), jnp.clip(values, 0.0)
    for _ in range(_EVIDENCE_ITERATIONS):
        relative = scale / loss.size()
        determined = jnp.sum(spectrum / (spectrum + (relative / prior_deviation) ** 2))
        scale = _error_scale(loss, misfit, m - determined, errors)
    relative = scale / loss.size()
    factor = vectors / jnp.sqrt(spectrum / relative**2 + prior_deviation**-2)
    step = -factor @ (factor.T @ (jacobian.T @ misfit)) / relative**2
    return Posterior(flat, factor, scale, prior_deviation, step)


def standard_errors(
    quantities: Callable[[M], Mapping[str, Float[Array, ""]]],
    model: M,
    loss: TrajectoryLoss,
    linearization: Linearization | None = None,
    freeze: Sequence[str] = (),
) -> dict[str, Float[Array, ""]]:
    """Standard errors of scalar `quantities` of a fitted model, to first order (see `laplace`).

    For models of few parameters, since the Jacobian has a column for each. `linearization` is
    misfit and Jacobian at the model's parameters, if known already, as after Levenberg-Marquardt.
    Parts of the model in `freeze` count as known.
    """
    known = linearization or linearized(model, loss, freeze)
    posterior = laplace(model, loss, freeze=freeze, linearization=known)
    return posterior.standard_deviation(lambda m: dict(quantities(m)))


def linearized(model: Any, loss: TrajectoryLoss, freeze: Sequence[str] = ()) -> Linearization:
    """(misfit, its Jacobian) at a model's parameters, in forward mode; values of weight 0 left out.

    Costs one derivative of the rollout per parameter. Columns are as in `flat_parameters`.
    """
    flat, loss = flat_parameters(model, freeze), loss.forwards()

    @jax.jit
    def linearize(values: Array) -> Any:
        return value_and_jacobian(lambda v: loss.misfit(flat.model(v), None), values)[:2]

    value, jacobian = linearize(flat.values)
    counts = loss.residuals_that_count(len(value))
    return value[counts], jacobian[counts]


def _root_of_inverse(jacobian: Float[Array, "m n"]) -> Float[Array, "n n"]:
    """F with F F^T = (J^T J)^{-1}; not finite where J is not of full rank."""
    n = jacobian.shape[1]
    # columns of unit length, for invariance to units
    lengths = jnp.linalg.norm(jacobian, axis=0)
    scaled = jacobian / lengths
    if jacobian.shape[0] < n:
        return jnp.full((n, n), jnp.inf, jacobian.dtype)
    upper = jnp.linalg.qr(scaled, mode="r")
    identity = jnp.eye(n, dtype=jacobian.dtype)
    return jax.scipy.linalg.solve_triangular(upper, identity) / lengths[:, None]


def _error_scale(
    loss: TrajectoryLoss, misfit: Float[Array, " m"], freedom: Any, errors: str
) -> Float[Array, ""]:
    """s: 1, or from the residuals; infinite without a degree of freedom."""
    if errors == "given":
        return jnp.ones((), misfit.dtype)
    total = loss.size() * jnp.linalg.norm(misfit)
    return jnp.where(freedom > 0, total / jnp.sqrt(jnp.maximum(freedom, 1e-30)), jnp.inf)


def _low_rank(
    flat: FlatParameters[M],
    loss: TrajectoryLoss,
    errors: str,
    prior_deviation: float | None,
    key: PRNGKeyArray,
) -> Posterior[M]:
    """The posterior of many parameters, from the leading directions of J."""
    forward = loss.forwards()
    n = flat.values.size
    weighs = jnp.asarray(
        loss.residuals_that_count(loss.number_of_residuals(flat.model(flat.values)))
    )

    def misfit(values: Array, loss: TrajectoryLoss) -> Array:
        return jnp.where(weighs, loss.misfit(flat.model(values), None)[0], 0.0)

    @jax.jit
    def along(directions: Float[Array, "k n"]) -> Float[Array, "k m"]:
        def one(v: Array) -> Array:
            return jax.jvp(lambda x: misfit(x, forward), (flat.values,), (v,))[1]

        return jax.lax.map(one, directions, batch_size=_AT_ONCE)

    @jax.jit
    def back(residuals: Float[Array, "k m"]) -> Float[Array, "k n"]:
        _, pull = jax.vjp(lambda x: misfit(x, loss), flat.values)
        return jax.lax.map(lambda r: pull(r)[0], residuals, batch_size=_AT_ONCE)

    value = jax.jit(lambda values: misfit(values, loss))(flat.values)
    m = int(weighs.sum())
    k = min(_RANK + _MORE, n, m)
    first, second = jax.random.split(key)
    # one power iteration: range of J J^T J
    basis = jnp.linalg.qr(along(jax.random.normal(first, (k, n), value.dtype)).T)[0]
    basis = jnp.linalg.qr(along(back(basis.T)).T)[0]
    small = back(basis.T)
    _, singular, rows = jnp.linalg.svd(small, full_matrices=False)
    spectrum = singular**2
    size = jnp.linalg.norm(flat.values)
    scale = _error_scale(loss, value, m, errors)
    deviation = jnp.asarray(size / n**0.5 if prior_deviation is None else prior_deviation)
    for _ in range(_EVIDENCE_ITERATIONS):
        relative = scale / loss.size()
        determined = jnp.sum(spectrum / (spectrum + (relative / deviation) ** 2))
        if prior_deviation is None:
            deviation = size / jnp.sqrt(determined)
        scale = _error_scale(loss, value, m - determined, errors)
    relative = scale / loss.size()
    shrink = 1 - 1 / jnp.sqrt(1 + spectrum * (deviation / relative) ** 2)
    normal = jax.random.normal(second, (n, _DRAWS), value.dtype)
    factor = deviation * (normal - rows.T @ (shrink[:, None] * (rows @ normal))) / _DRAWS**0.5
    return Posterior(flat, factor, scale, deviation)
