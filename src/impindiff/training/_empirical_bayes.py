"""Empirical Bayes: parameters and the weights of their prior, both from the data."""

import dataclasses
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.errors import InputError
from impindiff.rollout import Rollout
from impindiff.training._levenberg_marquardt import value_and_jacobian
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._priors import AbstractPrior, Priors, as_priors

_MAX_PARAMETERS = 2000
_SEARCH_STEPS = 100
_SEARCH_TOLERANCE = 1e-4
# of a hyperparameter from its guess, in standard deviations beforehand
_FARTHEST = 3.0
_RESCALINGS = 5
_HALVINGS = 6
_FOLDS = 5
# stop where the step is below a tenth of a standard deviation of the posterior, in all
_DECREMENT = 1e-2
# in eps: a change of the posterior's logarithm that is round-off
_ROUND_OFF = 1e3


class LinearMisfit(NamedTuple):
    r"""The misfit r + J d and the features f + F d of a prior, linear in a change d of parameters.

    - `gram`, `slope`, `square`: $J^T J$, $J^T r$, $r^T r$; `number`: that of rows.
    - `features`, `rows`: f and F, of each part of the prior; where the features are parameters, the
      numbers of these in place of F. `ranks`: masks of the rows that count.
    """

    gram: Float[Array, "n n"]
    slope: Float[Array, " n"]
    square: Float[Array, ""]
    number: Float[Array, ""]
    features: list[Float[Array, " _"]]
    rows: list[Float[Array, "_ n"] | Int[Array, " _"]]
    ranks: list[Float[Array, " _"]]


class Conditioned(NamedTuple):
    r"""The posterior of the change of parameters, for given hyperparameters.

    - `change`: its mean. `root`: R with covariance $R^T R$. `decrement`: the squared length of the
      mean in units of the posterior's standard deviations.
    - `determined`: the number of parameters that the data determine, see `Fitted`.
    - `negative_log_evidence`: up to a constant; differentiable once, as `change` is.
    """

    change: Float[Array, " n"]
    root: Float[Array, "n n"]
    decrement: Float[Array, ""]
    determined: Float[Array, ""]
    negative_log_evidence: Float[Array, ""]


def condition(
    linear: LinearMisfit,
    prior: Priors,
    theta: Float[Array, " k"],
    log_scale: Float[Array, ""],
) -> Conditioned:
    r"""The posterior and the evidence of a linear model with a Gaussian prior.

    With errors of size s, weights w and $A = J^T J / s^2 + F^T W^2 F$,
    $$-\log p(y) = \tfrac12 \Big( \frac{|r|^2}{s^2} + |W f|^2 - g^T A^{-1} g + \log\det A \Big)
    - \sum_i \log w_i + m \log s, \qquad g = J^T r / s^2 + F^T W^2 f,$$
    up to a constant. Directions that the prior leaves free (F d = 0) have a flat one.

    Cost: a Cholesky factorisation of order n and its inverse; two matrix products for a part of the
    prior whose features are not parameters.

    Source: Rasmussen and Williams, "Gaussian processes for machine learning", 2006, section 5.4;
    MacKay, Neural Computation 4 (1992).
    """
    log_weights, weights = [], []
    precision, pull = jnp.zeros_like(linear.gram), jnp.zeros_like(linear.slope)
    inertia = log_determinant = jnp.zeros(())
    parts = list(zip(prior.each(theta), linear.features, linear.rows, linear.ranks, strict=True))
    for (part, own), features, rows, counts in parts:
        log_weights.append(jnp.broadcast_to(part.log_weights(own), features.shape))
        weights.append(counts * lax.stop_gradient(jnp.exp(2 * log_weights[-1])))
        precision = _add_gram(precision, rows, weights[-1])
        pull += _transposed(rows, weights[-1] * features, len(pull))
        inertia += jnp.sum(weights[-1] * features**2)
        log_determinant += jnp.sum(counts * lax.stop_gradient(log_weights[-1]))
    squared = lax.stop_gradient(jnp.exp(-2 * log_scale))
    matrix = squared * linear.gram + precision
    slope = squared * linear.slope + pull
    # unit diagonal, for the factorisation's accuracy whatever the parameters' units
    lengths = jnp.sqrt(jnp.diag(matrix))
    lengths = jnp.where(lengths > 0, lengths, 1.0)
    jitter = 10 * jnp.finfo(matrix.dtype).eps
    identity = jnp.eye(len(lengths), dtype=matrix.dtype)
    root = jnp.linalg.cholesky(matrix / jnp.outer(lengths, lengths) + jitter * identity)
    inverse = solve_triangular(root, identity, lower=True) / lengths
    whitened = inverse @ slope
    change = -inverse.T @ whitened
    energy = squared * linear.square + inertia - whitened @ whitened
    value = energy / 2 + jnp.sum(jnp.log(lengths * jnp.diag(root))) - log_determinant
    value += linear.number * lax.stop_gradient(log_scale)
    # the derivatives in closed form, far cheaper than through the factorisation: the mean is at a
    # minimum, so that it counts as fixed, and that of log det A is a trace
    variances = [_variances(rows, inverse) for rows in linear.rows]
    prior_share = sum(jnp.sum(w * v) for w, v in zip(weights, variances, strict=True))
    # tr(A^{-1} J^T J / s^2), by A^{-1} (J^T J / s^2 + F^T W^2 F + jitter) = 1
    whole = len(lengths) - jitter * jnp.sum((inverse * lengths) ** 2)
    seen = jnp.maximum(whole - prior_share, 0.0) / squared
    misfit = linear.square + 2 * change @ linear.slope + change @ linear.gram @ change
    value += (linear.number - squared * (misfit + seen)) * _zero_with_slope(log_scale)
    push = -2 * squared * _zero_with_slope(log_scale) * (linear.gram @ change + linear.slope)
    for (_, features, rows, counts), own, weight, variance in zip(
        parts, log_weights, weights, variances, strict=True
    ):
        ahead, moves = features + _along(rows, change), _zero_with_slope(own)
        value += jnp.sum((weight * (ahead**2 + variance) - counts) * moves)
        push += _transposed(rows, 2 * weight * ahead * moves, len(push))
    change -= inverse.T @ (inverse @ push)
    return Conditioned(change, inverse, whitened @ whitened, squared * seen, value)


def _are_numbers(rows: Array) -> bool:
    return bool(jnp.issubdtype(rows.dtype, jnp.integer))


def _add_gram(total: Array, rows: Array, weights: Array) -> Array:
    """Add F^T diag(weights) F to a matrix."""
    if _are_numbers(rows):
        return total.at[rows, rows].add(weights)
    return total + rows.T @ (weights[:, None] * rows)


def _transposed(rows: Array, values: Array, size: int) -> Array:
    """The product F^T values."""
    if _are_numbers(rows):
        return jnp.zeros(size, values.dtype).at[rows].add(values)
    return rows.T @ values


def _along(rows: Array, change: Array) -> Array:
    """The product F change."""
    return change[rows] if _are_numbers(rows) else rows @ change


def _variances(rows: Array, inverse: Array) -> Array:
    """The diagonal of F R^T R F^T."""
    if _are_numbers(rows):
        return jnp.sum(inverse**2, axis=0)[rows]
    return jnp.sum((rows @ inverse.T) ** 2, axis=1)


def _zero_with_slope(x: Array) -> Array:
    """0, with the derivative of x."""
    return x - lax.stop_gradient(x)


class Choice(eqx.Module):
    """The state of `EmpiricalBayes`: chosen hyperparameters, and the logarithm of the error size.

    - `determined`: the number of parameters that the data determine, see `Fitted`.
    - `fresh`: True before the first step.
    - `settled`: True once the step was short against the posterior's standard deviation, or changed
      the posterior by round-off only.
    """

    parameters: PyTree[Any]
    theta: Float[Array, " k"]
    log_scale: Float[Array, ""]
    determined: Float[Array, ""]
    fresh: Bool[Array, ""]
    settled: Bool[Array, ""]


class Step(NamedTuple):
    """Result of a step: the choice to continue from, the misfit's square and its rollout."""

    choice: Choice
    taken: Bool[Array, ""]
    finished: Bool[Array, ""]
    loss: Float[Array, ""]
    rollout: Rollout
    gradient_norm: Float[Array, ""]


class _Trial(NamedTuple):
    number: Array
    values: Array
    value: Array
    square: Array
    rollout: Rollout


class EmpiricalBayes(eqx.Module):
    r"""Gauss-Newton steps to the posterior's maximum, with a prior whose weights the data choose.

    In each step the misfit is linearised at the current parameters. For the linear model the
    hyperparameters of the loss's prior and the size of the errors maximise the evidence (the
    probability of the data, in closed form) times their own prior; then the parameters go to the
    posterior mean, or part of the way where the nonlinear posterior would not increase. Far from
    the solution the error of linearisation counts as noise, so that early steps are cautious.
    Finished once a step is a tenth of the posterior's standard deviation.

    It needs no truth and no test data. For a prior of `GaussianPrior`, `MaternPrior`,
    `SmoothnessPrior` or `Priors`, and up to 2000 parameters.

    - `criterion`: "evidence"; or "cross_validation", the squared error of predictions of each
      fifth of the values, drawn at random, from the others. The evidence uses the data better, if
      the prior's form is right; cross-validation assumes less.
    - `errors`: "estimated", with the parameters; "given": the loss's weights are one over the
      data's standard deviations.

    Cost of a step: J, one forward-mode derivative of the rollout per parameter, and some tens of
    factorisations of order n; m n numbers are stored.

    Source: MacKay, "Bayesian interpolation", Neural Computation 4 (1992); Tarantola, "Inverse
    Problem Theory", SIAM 2005, section 3.4.
    """

    criterion: Literal["evidence", "cross_validation"] = eqx.field(static=True, default="evidence")
    errors: Literal["estimated", "given"] = eqx.field(static=True, default="estimated")

    def check(self, parameters: PyTree[Any]) -> None:
        """Raise `InputError` for more than 2000 parameters."""
        count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
        if count > _MAX_PARAMETERS:
            raise InputError(
                f"training.optimizer: empirical_bayes is for at most {_MAX_PARAMETERS} parameters, "
                f"the model has {count}; try an ipd.ModalField in place of a network, or fewer "
                f"modes"
            )

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> Choice:
        """The state before the first step.

        **Raises:** `InputError` for a loss with a penalty, without a prior to choose, or with a
        `MaternPrior` of a field that is computed from parameters.
        """
        self.check(parameters)
        if loss.penalty is not None:
            raise InputError(
                "training.optimizer: empirical_bayes minimises sums of squares and the loss has a "
                "penalty; try lbfgs or adam, or leave the penalty out"
            )
        prior = as_priors(loss.prior)
        for part in prior.parts.values():
            _check_features(part, parameters, static)
        theta = prior.hyperparameters()
        like = jnp.result_type(*jax.tree.leaves(parameters))
        zero = jnp.zeros((), like)
        yes, no = jnp.asarray(True), jnp.asarray(False)
        return Choice(parameters, theta.astype(like), zero, zero, yes, no)

    def advance(self, choice: Choice, static: Any, loss: TrajectoryLoss) -> Step:
        """One step."""
        prior, data = as_priors(loss.prior), dataclasses.replace(loss, prior=None)
        base, unravel = ravel_pytree(choice.parameters)

        def misfit(values: Array) -> tuple[Array, Rollout]:
            found, result = data.misfit(eqx.combine(unravel(values), static), None)
            return found * data.size(), result

        def features(values: Array) -> list[Array]:
            model = eqx.combine(unravel(values), static)
            return [part.features(model) for part in prior.parts.values()]

        residuals, jacobian, first = value_and_jacobian(misfit, base)
        count = _count(data, base.dtype)
        products = jacobian.T @ jacobian, jacobian.T @ residuals
        linear = _of_prior(features, prior, base, *products, residuals)
        linear = linear._replace(number=count)
        guess = jnp.log(jnp.maximum(jnp.linalg.norm(residuals), 1e-300)) - jnp.log(count) / 2
        log_scale = jnp.where(choice.fresh, guess, choice.log_scale)
        if self.errors == "given":
            log_scale = jnp.zeros_like(log_scale)
        folds = None
        if self.criterion == "cross_validation":
            folds = _folds(jacobian, residuals, linear)
        theta, log_scale = self._chosen(linear, folds, prior, choice.theta, log_scale)
        posterior = condition(linear, prior, theta, log_scale)
        squared = jnp.exp(-2 * log_scale)

        def energy(values: Array) -> tuple[Array, tuple[Array, Rollout]]:
            found, result = misfit(values)
            total = squared * jnp.sum(found**2)
            for (part, own), of in zip(prior.each(theta), features(values), strict=True):
                total += jnp.sum((jnp.exp(part.log_weights(own)) * of) ** 2)
            usable = jnp.all(result.stats.converged) & jnp.isfinite(total)
            return jnp.where(usable, total, jnp.inf), (jnp.sum(found**2), result)

        before = squared * jnp.sum(residuals**2)
        for (part, own), of in zip(prior.each(theta), features(base), strict=True):
            before += jnp.sum((jnp.exp(part.log_weights(own)) * of) ** 2)

        usable = jnp.all(first.stats.converged) & jnp.all(jnp.isfinite(posterior.change))
        settled = usable & (posterior.decrement <= _DECREMENT)
        round_off = _ROUND_OFF * jnp.finfo(base.dtype).eps * before
        change = jnp.where(usable & ~settled, posterior.change, 0.0)

        def higher(trial: _Trial) -> Array:
            return (trial.value >= before) & (trial.number < _HALVINGS) & ~settled

        def next_trial(trial: _Trial) -> _Trial:
            values = base + 0.5 ** trial.number.astype(base.dtype) * change
            value, (square, result) = energy(values)
            return _Trial(trial.number + 1, values, value, square, result)

        none = jnp.asarray(jnp.inf, base.dtype)
        here = _Trial(jnp.zeros((), jnp.int32), base, none, jnp.sum(residuals**2), first)
        last = lax.while_loop(higher, next_trial, here)
        lower = last.value < before
        best = jax.tree.map(lambda new, old: jnp.where(lower, new, old), last, here)
        return Step(
            choice=Choice(
                unravel(best.values),
                theta,
                log_scale,
                posterior.determined,
                jnp.asarray(False),
                settled | (usable & ~lower & (posterior.decrement <= round_off)),
            ),
            taken=usable,
            # no part of the step leads on: at round-off, or the linear model is wrong
            finished=settled | (usable & ~lower),
            loss=best.square / data.size() ** 2,
            rollout=best.rollout,
            gradient_norm=jnp.sqrt(posterior.decrement),
        )

    def regularised(self, choice: Choice, loss: TrajectoryLoss) -> TrajectoryLoss:
        """The loss with the chosen prior and weights of one over the errors' standard deviations.

        `laplace(model, ..., errors="given")` takes it.
        """
        given = jnp.ones(()) if loss.weights is None else loss.weights
        weights = jnp.broadcast_to(given * jnp.exp(-choice.log_scale), loss.values.shape)
        prior = as_priors(loss.prior).at(choice.theta)
        alone = prior if isinstance(loss.prior, Priors) else prior.parts[""]
        return dataclasses.replace(loss, prior=alone, weights=weights.astype(loss.values.dtype))

    def _chosen(
        self,
        linear: LinearMisfit,
        folds: LinearMisfit | None,
        prior: Priors,
        theta: Float[Array, " k"],
        log_scale: Float[Array, ""],
    ) -> tuple[Float[Array, " k"], Float[Array, ""]]:
        """Hyperparameters and error size of the linear model, from those of the last."""
        widths = jnp.asarray(prior.widths, theta.dtype)
        # about equally curved along both
        unit = 1 / jnp.sqrt(2 * linear.number)
        free = self.errors == "estimated"

        def rescaled(_: int, scale: Array) -> Array:
            found = condition(linear, prior, theta, scale)
            d, freedom = found.change, jnp.maximum(linear.number - found.determined, 1.0)
            square = linear.square + 2 * d @ linear.slope + d @ linear.gram @ d
            better = jnp.log(jnp.maximum(square, 1e-300) / freedom) / 2
            return jnp.where(jnp.isfinite(better), better, scale)

        if free:
            log_scale = lax.fori_loop(0, _RESCALINGS, rescaled, log_scale)

        def unpacked(x: Array) -> tuple[Array, Array]:
            # bounded: far out the evidence is flat, and a search does not come back
            theta = widths * _FARTHEST * jnp.tanh(x[:-1] / _FARTHEST)
            return theta, log_scale + (x[-1] * unit if free else 0.0)

        def objective(x: Array, _: None) -> Array:
            own, scale = unpacked(x)
            if folds is None:
                value = condition(linear, prior, own, scale).negative_log_evidence
            else:
                value = _predicted(linear, folds, prior, own, scale)
            return value + jnp.sum((own / widths) ** 2) / 2

        inside = jnp.clip(theta / (widths * _FARTHEST), -0.999, 0.999)
        begin = jnp.append(_FARTHEST * jnp.arctanh(inside), jnp.zeros((), theta.dtype))
        # a first step of length 1 at most
        steepness = jnp.maximum(jnp.linalg.norm(jax.grad(objective)(begin, None)), 1.0)
        found = optx.minimise(
            lambda x, _: objective(x, None) / steepness,
            optx.BFGS(_SEARCH_TOLERANCE, _SEARCH_TOLERANCE),
            begin,
            max_steps=_SEARCH_STEPS,
            throw=False,
        ).value
        return unpacked(jnp.where(jnp.all(jnp.isfinite(found)), found, begin))


def _check_features(part: AbstractPrior, parameters: PyTree[Any], static: Any) -> None:
    """Refuse features that should be parameters of the model and are not."""
    if not part.are_parameters:
        return
    base, unravel = ravel_pytree(parameters)
    rows = jax.jacfwd(lambda p: part.features(eqx.combine(unravel(p), static)))(base)
    if isinstance(rows, Tracer):  # several members at once, of one kind
        return
    if not np.isin(rows, (0, 1)).all() or (np.asarray(rows).sum(axis=1) > 1).any():
        raise InputError(
            f"{type(part).__name__}: its `where` selects a field that is computed from the model's "
            "parameters; expected a part of the model itself, such as `lambda m: m.velocity`"
        )


def _count(loss: TrajectoryLoss, dtype: Any) -> Array:
    """Number of values that weigh."""
    weights = jnp.ones(()) if loss.weights is None else loss.weights
    return jnp.sum(jnp.broadcast_to(weights != 0, loss.values.shape)).astype(dtype)


def _of_prior(
    features: Any,
    prior: Priors,
    base: Float[Array, " n"],
    gram: Float[Array, "n n"],
    slope: Float[Array, " n"],
    residuals: Float[Array, " m"],
) -> LinearMisfit:
    """The linear model; parts of more features than parameters are reduced to as many."""
    values, rows = features(base), jax.jacfwd(features)(base)
    found, reduced, ranks = [], [], []
    for part, value, row in zip(prior.parts.values(), values, rows, strict=True):
        if part.are_parameters:
            counts = jnp.asarray(jnp.any(row != 0, axis=1), base.dtype)
            found.append(value)
            reduced.append(jnp.argmax(row, axis=1))
        elif len(value) <= base.size:
            counts = jnp.asarray(jnp.any(row != 0, axis=1), base.dtype)
            found.append(value)
            reduced.append(row)
        else:
            # the same sums of squares, less a constant that no change of parameters affects
            eigenvalues, vectors = jnp.linalg.eigh(row.T @ row)
            least = base.size * jnp.finfo(base.dtype).eps * eigenvalues[-1]
            counts = jnp.asarray(eigenvalues > least, base.dtype)
            lengths = jnp.sqrt(jnp.where(counts > 0, eigenvalues, 1.0))
            reduced.append(counts[:, None] * lengths[:, None] * vectors.T)
            found.append(counts * (vectors.T @ (row.T @ value)) / lengths)
        ranks.append(counts)
    square = jnp.sum(residuals**2)
    return LinearMisfit(gram, slope, square, jnp.zeros(()), found, reduced, ranks)


def _folds(
    jacobian: Float[Array, "m n"], residuals: Float[Array, " m"], linear: LinearMisfit
) -> LinearMisfit:
    """The parts of the misfit in each fold, along a leading axis."""
    fold = jnp.asarray(np.random.default_rng(0).integers(_FOLDS, size=len(residuals)))

    def of(which: Array) -> tuple[Array, Array, Array]:
        inside = (fold == which).astype(residuals.dtype)
        own = inside[:, None] * jacobian
        r = inside * residuals
        return own.T @ own, own.T @ r, r @ r

    gram, slope, square = lax.map(of, jnp.arange(_FOLDS))
    return linear._replace(gram=gram, slope=slope, square=square)


def _predicted(
    linear: LinearMisfit,
    folds: LinearMisfit,
    prior: Priors,
    theta: Float[Array, " k"],
    log_scale: Float[Array, ""],
) -> Float[Array, ""]:
    """Minus the logarithm of the density of each fold's values around predictions from the rest."""

    def of(gram: Array, slope: Array, square: Array) -> Array:
        rest = linear._replace(gram=linear.gram - gram, slope=linear.slope - slope)
        d = condition(rest, prior, theta, log_scale).change
        return square + 2 * d @ slope + d @ gram @ d

    total = jnp.sum(jax.vmap(of)(folds.gram, folds.slope, folds.square))
    return jnp.exp(-2 * log_scale) * total / 2 + linear.number * log_scale
