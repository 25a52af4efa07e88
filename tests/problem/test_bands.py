"""Standard deviations of forecasts and latent fields, against those of linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from decay import GRID, Decay, DecayProblem

import impindiff as ipd
from impindiff.experiment import run
from impindiff.experiment._posterior import with_few_columns
from impindiff.inference import FlatParameters, Posterior
from impindiff.report import latent_figure, snapshots_figure
from impindiff.settings.sections import ProblemSettings

NOISE = 0.02
TIMES = np.linspace(0.05, 0.6, 12)


class Problem(DecayProblem):
    """A decay read at one place."""

    name = "decay"

    def data(self, settings):
        noise = NOISE * np.random.default_rng(0).normal(size=TIMES.size)
        columns = {
            "time": TIMES,
            "x": np.full(TIMES.size, 0.4375),
            "quantity": np.full(TIMES.size, "c"),
            "value": np.exp(-2.0 * TIMES) + noise,
            "standard_deviation": np.full(TIMES.size, NOISE),
        }
        return xr.Dataset({name: ("observation", values) for name, values in columns.items()})


def settings(**forecast):
    return ProblemSettings.model_validate(
        {
            "stepper": {"name": "kencarp4", "dt": 0.05},
            "training": {"optimizer": "levenberg_marquardt", "steps": 20},
            "forecast": {"until": 1.0, **forecast},
        }
    )


@pytest.mark.slow
def test_the_bands_of_a_run_are_those_of_nonlinear_least_squares(tmp_path):
    problem = Problem()
    metrics = run(problem, settings(), tmp_path / "run")
    rate, amplitude = (float(metrics.identified[name].value or 0) for name in ("rate", "amplitude"))

    def rows(t):
        decayed = np.exp(-rate * t)
        return np.stack([-amplitude * t * decayed, decayed], axis=-1)

    residuals = amplitude * np.exp(-rate * TIMES) - problem.data(None)["value"].to_numpy()
    size = np.sum(residuals**2) / (TIMES.size - 2)
    covariance = size * np.linalg.inv(rows(TIMES).T @ rows(TIMES))
    forecast = xr.load_dataset(tmp_path / "run" / "forecast.nc", engine="h5netcdf")
    along = rows(forecast["time"].to_numpy())
    expected = np.sqrt(np.einsum("ti,ij,tj->t", along, covariance, along))
    for cell in range(8):
        np.testing.assert_allclose(forecast["c_spread"][0, :, cell], expected, rtol=2e-3)
    np.testing.assert_allclose(forecast["sink_spread"], covariance[0, 0] ** 0.5, rtol=2e-3)

    metrics = run(problem, settings(bands=False), tmp_path / "without")
    assert metrics.identified["rate"].standard_error is not None
    without = xr.load_dataset(tmp_path / "without" / "forecast.nc", engine="h5netcdf")
    assert not [name for name in without if str(name).endswith("_spread")]


def test_many_columns_are_mixed_into_few_of_about_the_same_variances():
    factor = jnp.asarray(np.random.default_rng(0).normal(size=(300, 120)))
    decay = Problem().model(None, None)
    flat = FlatParameters(jnp.zeros(300), ("p",) * 300, lambda values: decay)
    posterior = Posterior(flat, factor, jnp.ones(()))
    reduced = with_few_columns(posterior)
    assert reduced.factor.shape == (300, 40)
    exact, found = (np.sqrt(np.diag(of.covariance)) for of in (posterior, reduced))
    # the standard deviation of one over its exact value is 1 / sqrt(80)
    assert np.std(found / exact) == pytest.approx(80**-0.5, rel=0.2)
    few = Posterior(flat, factor[:, :5], jnp.ones(()))
    assert with_few_columns(few) is few


def test_figures_of_fields_show_their_deviations():
    times, x, y = np.arange(3.0), np.arange(4.0), np.arange(5.0)
    shape = ("time", "x", "y")
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    coordinates = {"time": times, "x": x, "y": y}
    fields = xr.Dataset({"c": (shape, values), "p": (shape, values)}, coordinates)
    sure = xr.Dataset({"p": (shape, np.abs(values))}, coordinates)
    figure = snapshots_figure(fields, deviations=sure)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert sum("p, standard deviation" in title for title in titles) == 1
    assert not any("c, standard deviation" in title for title in titles)
    field = values[0]
    pairs = {"v": (field, field + 1.0), "w": (field, None)}
    shown = latent_figure(pairs, (0, 1, 0, 1), deviations={"v": np.abs(field)})
    assert [ax.get_title() for ax in shown.axes].count("standard deviation") == 1


@jax.custom_vjp
def rate_backwards(x):
    return 2 * x


rate_backwards.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


class InReverseOnly(Decay):
    def tendency(self, t, u, latent):
        return {"c": -rate_backwards(latent["sink"]) * u["c"]}


@pytest.mark.slow
def test_a_model_with_derivatives_in_reverse_only_has_no_bands(tmp_path):
    class Reverse(Problem):
        """The same, by half of the rate."""

        def model(self, settings, key) -> Decay:
            return InReverseOnly(GRID, ipd.Parameter(1.0), ipd.Parameter(0.7))

    given = {
        "stepper": {"name": "backward_euler", "dt": 0.05},
        "training": {"optimizer": "adam", "steps": 2},
    }
    metrics = run(Reverse(), ProblemSettings.model_validate(given), tmp_path / "run")
    assert metrics.identified["rate"].standard_error is None
