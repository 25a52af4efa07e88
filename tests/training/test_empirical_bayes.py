"""Priors and their weights: exact integrals, closed forms, a sweep, and a field that is found."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.stats import multivariate_normal

import impindiff as ipd
from impindiff.inference import laplace
from impindiff.training import (
    EmpiricalBayes,
    FitOptions,
    GaussianPrior,
    MaternPrior,
    Priors,
    SmoothnessPrior,
    TrajectoryLoss,
    fit,
)
from impindiff.training._empirical_bayes import Conditioned, LinearMisfit, condition

LINE = ipd.Grid((0.0,), (2.0,), (40,), boundary=(ipd.Periodic(),))
SEEN = np.random.default_rng(3).permutation(40)[:24]
NOISE = 0.05


class Source(ipd.HybridModel):
    """du/dt = s(x) + a: the source and a number are unknown; the state is linear in both."""

    grid: ipd.Grid
    source: ipd.ModalField
    a: jax.Array

    def tendency(self, t, u, latent):
        return self.source(self.grid)[0] + self.a


def model(modes=21):
    return Source(
        LINE, ipd.ModalField(1, (0.0,), (2.0,), periodic=(True,), modes=modes), jnp.zeros(1)
    )


def source_of(m):
    return m.source


def number_of(m):
    return m.a


def true_source(x):
    return np.sin(np.pi * x) + 0.5 * np.cos(2 * np.pi * x)


def loss(prior, **options):
    clean = 0.3 * true_source(LINE.axis_centers(0))[SEEN]
    values = clean + NOISE * np.random.default_rng(0).normal(size=clean.shape)
    return TrajectoryLoss(
        u0=jnp.zeros((1, 40)),
        times=(0.0, 0.3),
        values=jnp.asarray(values),
        observe=lambda u: u[1, 0, SEEN],
        stepper=ipd.RK4(),
        dt=0.3,
        prior=prior,
        **options,
    )


def priors(modes=21):
    matern = MaternPrior(source_of, model(modes).source)
    return Priors({"source": matern, "a": GaussianPrior(number_of, 0.5, choose=True)})


@pytest.mark.parametrize("order", [1, 2])
def test_seminorms_are_the_integrals_of_calculus(order):
    """The mean squares of the gradient and of the Laplacian of sin(pi x) + cos(2 pi x) / 2."""
    fine = ipd.Grid((0.0,), (2.0,), (400,), boundary=(ipd.Periodic(),))
    prior = SmoothnessPrior(lambda v: jnp.asarray(v), fine, size=2.0, order=order)
    found = float(np.sum(prior(true_source(fine.axis_centers(0))) ** 2))
    k = np.pi ** (2 * order)
    assert found == pytest.approx((k / 2 + 0.25 * 4**order * k / 2) / 4, rel=1e-3)


def test_a_matern_prior_has_the_deviation_and_the_length_that_it_states():
    prior = MaternPrior(source_of, model(41).source, deviation=2.0)
    variance = np.exp(-2 * np.asarray(prior.log_weights(prior.hyperparameters())))
    assert variance.sum() == pytest.approx(4.0)  # the pointwise variance: phi_k has mean square 1
    stated, eigenvalues = prior.described(), model(41).source.eigenvalues[1:]
    assert stated["length"] == pytest.approx(0.25)
    shape = (1 + eigenvalues * 0.25**2 / 6) ** -3.5  # nu = 3 in one dimension
    np.testing.assert_allclose(variance, 4 * shape / shape.sum(), rtol=1e-9)


def test_a_matern_prior_has_a_length_and_a_smoothness_in_time():
    field = ipd.ModalField(1, (0.0,), (2.0,), periodic=(True,), modes=21, time=(0.0, 1.0))
    prior = MaternPrior(lambda model: model, field, deviation=2.0)
    rough = prior.at(prior.hyperparameters().at[-1].set(np.log(0.5)))
    stated = rough.described()
    assert list(stated) == ["deviation", "length_x", "length_t", "smoothness", "smoothness_t"]
    assert stated["length_t"] == pytest.approx(0.375)  # an eighth of twice the extended interval
    assert stated["smoothness_t"] == pytest.approx(1.5)
    x, t = field.wavenumbers[1:].T
    shape = (1 + (0.25 * x) ** 2 / 6) ** -3.5 * (1 + (0.375 * t) ** 2 / 3) ** -2
    variance = np.exp(-2 * np.asarray(rough.log_weights(rough.hyperparameters())))
    np.testing.assert_allclose(variance, 4 * shape / shape.sum(), rtol=1e-9)
    alone = ipd.ModalField(1, (0.0,), (2.0,), modes=1, time=(0.0, 1.0))
    stated = MaternPrior(lambda model: model, alone).described()
    assert list(stated) == ["deviation", "length", "smoothness"]
    assert stated["length"] == pytest.approx(0.375)


def linear(prior, m, rng):
    """A linear misfit with random rows, and its parts."""
    flat, unravel = ravel_pytree(eqx.filter(m, eqx.is_inexact_array))
    n = flat.size
    jacobian, residuals = rng.normal(size=(30, n)), rng.normal(size=30)
    rows, features = [], []
    for part in prior.parts.values():
        rows.append(
            jax.jacfwd(lambda p, part=part: part.features(eqx.combine(unravel(p), m)))(flat)
        )
        features.append(jnp.zeros(len(rows[-1])))
    return (
        jacobian,
        residuals,
        LinearMisfit(
            jnp.asarray(jacobian.T @ jacobian),
            jnp.asarray(jacobian.T @ residuals),
            jnp.asarray(residuals @ residuals),
            jnp.asarray(30.0),
            features,
            rows,
            [jnp.ones(len(row)) for row in rows],
        ),
    )


@pytest.mark.slow
def test_the_evidence_is_that_of_the_data_as_one_normal_vector():
    """-log N(r; 0, s^2 I + J C J^T), up to a constant, and the posterior mean by Kriging."""
    m, prior, rng = model(7), priors(7), np.random.default_rng(0)
    # a flat prior of the constant is one of a very large variance
    prior = Priors(
        {**prior.parts, "mean": GaussianPrior(lambda m: m.source.coefficients[0, 0], 1e2)}
    )
    jacobian, residuals, misfit = linear(prior, m, rng)

    def direct(theta, s):
        precision = sum(
            row.T
            @ np.diag(np.broadcast_to(np.exp(2 * np.asarray(part.log_weights(own))), len(row)))
            @ row
            for (part, own), row in zip(prior.each(theta), misfit.rows, strict=True)
        )
        cross = np.linalg.solve(precision, jacobian.T)
        total = s**2 * np.eye(30) + jacobian @ cross
        density = multivariate_normal(np.zeros(30), total).logpdf(residuals)
        return -density - 15 * np.log(2 * np.pi), -cross @ np.linalg.solve(total, residuals)

    for _ in range(3):
        theta, s = jnp.asarray(rng.normal(size=prior.widths.size)), np.exp(rng.normal())
        found = condition(misfit, prior, theta, jnp.log(s))
        value, mean = direct(theta, s)
        assert float(found.negative_log_evidence) == pytest.approx(value, rel=1e-8)
        np.testing.assert_allclose(found.change, mean, atol=1e-7)


@pytest.mark.slow
def test_features_that_are_parameters_give_the_same_by_their_numbers():
    prior, m = priors(), model()
    _, _, dense = linear(prior, m, np.random.default_rng(1))
    places = list(prior.parts).index("source")
    rows = list(dense.rows)
    rows[places] = jnp.argmax(rows[places], axis=1)
    theta, scale = prior.hyperparameters() + 0.3, jnp.asarray(-0.2)

    def value(linear, theta, scale):
        return condition(linear, prior, theta, scale).negative_log_evidence

    def all_of(linear):
        found = condition(linear, prior, theta, scale)
        return found, jax.grad(value, (1, 2))(linear, theta, scale)

    expected = all_of(dense)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
        all_of(dense._replace(rows=rows)),
        expected,
    )
    # the trace of A^{-1} J^T J / s^2, by its definition
    inverse = expected[0].root.T @ expected[0].root
    trace = jnp.exp(-2 * scale) * jnp.trace(inverse @ dense.gram)
    np.testing.assert_allclose(expected[0].determined, trace, rtol=1e-9)


def test_the_evidence_and_the_posterior_mean_have_their_exact_derivatives():
    m, prior, rng = model(7), priors(7), np.random.default_rng(1)
    *_, misfit = linear(prior, m, rng)
    misfit = misfit._replace(
        features=[jnp.asarray(rng.normal(size=len(f))) for f in misfit.features]
    )
    x, direction = jnp.asarray(rng.normal(size=5)), jnp.asarray(rng.normal(size=5))

    @jax.jit
    def both(x):
        found = condition(misfit, prior, x[:-1], x[-1])
        return found.negative_log_evidence, found.change

    slopes = jax.jvp(both, (x,), (direction,))[1]
    ahead, behind = both(x + 1e-5 * direction), both(x - 1e-5 * direction)
    for slope, up, down in zip(slopes, ahead, behind, strict=True):
        np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(
        model(),
        loss(priors()),
        EmpiricalBayes(),
        tmp_path_factory.mktemp("fit"),
        FitOptions(steps=12, log_every=1),
    )


@pytest.mark.slow
def test_the_source_and_the_size_of_the_noise_are_found(fitted):
    assert fitted.converged
    assert fitted.steps <= 4  # linear: one step, and those that confirm it
    x = LINE.axis_centers(0)
    found = np.asarray(fitted.model.source(LINE)[0] + fitted.model.a)
    error = np.sqrt(np.mean((found - true_source(x)) ** 2))
    assert error < 0.1  # 0.05 / 0.3 at each sensor, without a prior more between them
    noise = 1 / float(fitted.regularised.weights[0])
    assert noise == pytest.approx(NOISE, rel=0.35)
    assert 2 < fitted.determined < 15
    chosen = fitted.regularised.prior
    assert (np.abs(chosen.hyperparameters()) < 3 * chosen.widths).all()


@pytest.mark.slow
def test_the_choice_is_the_best_of_a_sweep(fitted):
    """No other deviation, length, smoothness or noise has a larger posterior density."""
    prior, data = priors(), loss(None)
    m = fitted.model
    flat, unravel = ravel_pytree(eqx.filter(m, eqx.is_inexact_array))
    rows = jax.jacfwd(lambda p: data.misfit(eqx.combine(unravel(p), m), None)[0])(flat)
    size = float(data.size())
    r = size * data.misfit(m, None)[0]
    jacobian = size * rows
    features = [part.features(m) for part in prior.parts.values()]
    of_prior = [
        jax.jacfwd(lambda p, part=part: part.features(eqx.combine(unravel(p), m)))(flat)
        for part in prior.parts.values()
    ]
    misfit = LinearMisfit(
        jacobian.T @ jacobian,
        jacobian.T @ r,
        r @ r,
        jnp.asarray(float(len(r))),
        features,
        of_prior,
        [jnp.ones(len(row)) for row in of_prior],
    )
    theta = fitted.regularised.prior.hyperparameters()
    log_scale = -jnp.log(fitted.regularised.weights[0])

    @jax.jit
    def value(theta, log_scale):
        found: Conditioned = condition(misfit, prior, theta, log_scale)
        return found.negative_log_evidence + jnp.sum((theta / prior.widths) ** 2) / 2

    least = float(value(theta, log_scale))
    for i in range(len(theta) + 1):
        for change in (-0.5, -0.1, 0.1, 0.5):
            other = theta if i == len(theta) else theta.at[i].add(change)
            scale = log_scale + change if i == len(theta) else log_scale
            assert float(value(other, scale)) > least - 1e-3


@pytest.mark.slow
def test_the_posterior_is_narrower_where_there_are_sensors(fitted):
    """`laplace` takes the loss with the chosen prior; the bands hold the truth."""
    posterior = laplace(fitted.model, fitted.regularised, errors="given")
    spread = np.asarray(posterior.standard_deviation(lambda m: m.source(LINE)[0] + m.a))
    x = LINE.axis_centers(0)
    off = np.asarray(fitted.model.source(LINE)[0] + fitted.model.a) - true_source(x)
    assert np.mean(np.abs(off) < 2 * spread) > 0.85
    inside = spread[SEEN].mean()
    assert inside < 0.9 * np.delete(spread, SEEN).mean()
    assert spread.max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("case", ["cross_validation", "seminorm", "given"])
def test_other_criteria_and_priors_find_it_too(case, tmp_path):
    prior = MaternPrior(source_of, model().source)
    optimizer, options = EmpiricalBayes(), {}
    if case == "cross_validation":
        optimizer = EmpiricalBayes("cross_validation")
    elif case == "given":
        optimizer, options = EmpiricalBayes(errors="given"), {"weights": jnp.full(24, 1 / NOISE)}
    else:
        prior = SmoothnessPrior(lambda m: m.source(LINE)[0], LINE, 10.0, order=2, choose=True)
    found = fit(
        model(),
        loss(prior, **options),
        optimizer,
        tmp_path,
        FitOptions(steps=12, freeze=("a",)),
    )
    x = LINE.axis_centers(0)
    off = np.asarray(found.model.source(LINE)[0]) - true_source(x)
    assert np.sqrt(np.mean(off**2)) < 0.12
    assert found.converged


@pytest.mark.slow
def test_a_step_that_leads_nowhere_is_no_convergence(tmp_path):
    """With a derivative of the wrong sign every step leads away from the minimum."""

    @jax.custom_jvp
    def wrong(u):
        return u

    wrong.defjvp(lambda primals, tangents: (primals[0], -tangents[0]))
    start = loss(priors())
    seen = start.observe
    start = dataclasses.replace(start, observe=lambda u: wrong(seen(u)))
    fitted = fit(model(), start, EmpiricalBayes(), tmp_path, FitOptions(steps=5))
    assert fitted.steps < 5
    assert not fitted.converged


@pytest.mark.slow
def test_a_training_is_resumed_to_the_bit(fitted, tmp_path):
    options = FitOptions(steps=1, save_every=1)
    fit(model(), loss(priors()), EmpiricalBayes(), tmp_path, options)
    options = dataclasses.replace(options, steps=12)
    again = fit(model(), loss(priors()), EmpiricalBayes(), tmp_path, options, resume=True)
    np.testing.assert_array_equal(again.model.source.coefficients, fitted.model.source.coefficients)


def test_unsuitable_losses_are_refused():
    m, optimizer = model(), EmpiricalBayes()
    parameters = eqx.filter(m, eqx.is_inexact_array)
    with pytest.raises(ipd.InputError, match="the loss has no prior"):
        optimizer.start(parameters, loss(None), m)
    with pytest.raises(ipd.InputError, match="has a penalty"):
        optimizer.start(parameters, loss(priors(), penalty=lambda m: 0.0), m)
    with pytest.raises(ipd.InputError, match="at most 2000 parameters"):
        optimizer.check({"a": jnp.zeros(2001)})
    doubled = MaternPrior(lambda m: jax.tree.map(lambda a: 2 * a, source_of(m)), m.source)
    with pytest.raises(ipd.InputError, match="a field that is computed from"):
        optimizer.start(parameters, loss(doubled), m)
    with pytest.raises(ipd.InputError, match="MaternPrior: the field is a"):
        MaternPrior(source_of, ipd.ModalField(1, (0.0,), (1.0,), modes=1))
