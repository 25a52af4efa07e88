"""Problems of one's own: what is worked out from a model, a state and measurements."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from decay import GRID, Decay, DecayProblem
from pydantic import ValidationError

import impindiff as ipd
from impindiff import report
from impindiff.experiment import Experiment, run
from impindiff.experiment._metrics import misfits
from impindiff.problem import ProblemSettings, as_data, conditions_of
from impindiff.problem._problem import output_times
from impindiff.problem.observations import initial_fields, measured

RATE = 2.0
NAN = np.nan


def points(count=60, seed=0, first=0.0):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.uniform(first, 1.0, count))
    columns = {
        "time": time,
        "x": rng.uniform(0.0, 1.0, count),
        "quantity": np.full(count, "c"),
        "value": np.exp(-RATE * time),
        "standard_deviation": np.full(count, 0.01),
    }
    return xr.Dataset({name: ("observation", values) for name, values in columns.items()})


def problem(dataset):
    found = DecayProblem()
    found.dataset, found.name = dataset, "decay"
    return found


def settings(**changes):
    values: dict[str, Any] = {
        "stepper": {"name": "kencarp4", "dt": 0.05},
        "training": {"optimizer": "levenberg_marquardt", "steps": 20},
        "observations": {"until": 0.7},
        "forecast": {"bands": False},
        "truth": {"rate": RATE},
    }
    return ProblemSettings.model_validate(values | changes)


def experiment_of(own, chosen):
    return Experiment(own, chosen, as_data(own.dataset, None))


def table_of(experiment):
    table = experiment.observations.table
    assert table is not None
    return table


def predicted(experiment, model, table):
    times = experiment.times_of(table)
    states, failure = experiment.states(model, [0], times)
    assert failure is None
    return experiment.predicted(model, states, times, table)


@pytest.mark.slow
def test_finds_rate_and_amplitude_and_judges_by_later_values(tmp_path):
    lines = []
    metrics = run(problem(points()), settings(), tmp_path / "run", say=lines.append)
    rate = metrics.identified["rate"]
    assert rate.value == pytest.approx(RATE, rel=1e-4)
    assert rate.truth == RATE
    assert metrics.identified["amplitude"].value == pytest.approx(1.0, rel=1e-4)
    assert rate.standard_error is not None
    assert rate.standard_error < 1e-3
    train, test = (metrics.misfit[name]["c"] for name in ("train", "test"))
    assert train.values + test.values == 60
    assert 0 < test.values < 30
    assert test.relative_percent is not None
    assert test.relative_percent < 0.1
    assert test.in_standard_deviations is not None
    assert test.in_standard_deviations < 0.1
    seen = points()["time"][points()["time"] <= 0.7]
    assert lines[0] == (
        f"data: {train.values} values of c, t = {seen.min():g} to {seen.max():g}; 1 sample; "
        f"{test.values} later ones for testing"
    )
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {
        "forecast", "latent", "agreement", "history", "identified", "identifiability",
    }  # fmt: skip
    forecast = xr.load_dataset(tmp_path / "run" / "forecast.nc", engine="h5netcdf")
    exact = np.exp(-RATE * forecast["time"].to_numpy())
    np.testing.assert_allclose(forecast["c_forecast"][0, :, 3], exact, rtol=2e-4)
    np.testing.assert_allclose(forecast["sink"], RATE, rtol=1e-4)


@pytest.mark.parametrize("stated", [{}, {"c": 0.1}, 0.1])
def test_misfits_are_in_standard_deviations_that_were_stated(stated):
    data = points().drop_vars("standard_deviation")
    chosen = settings(observations={"until": 0.7, "standard_deviation": stated})
    table = table_of(experiment_of(problem(data), chosen))
    found = misfits(table, table.value + 0.2)["c"]
    assert found.rms == pytest.approx(0.2)
    assert found.in_standard_deviations == (pytest.approx(2.0) if stated else None)


@pytest.mark.parametrize("wrong", [0, -1.0, "a", {"c": 0.0}])
def test_a_standard_deviation_is_positive(wrong):
    with pytest.raises(ValidationError, match="standard_deviation"):
        settings(observations={"standard_deviation": wrong})


def drawn_by_run(own, chosen, folder):
    """The panels of the figure over time, and its axes; empty if there is none."""
    drawn = {}
    with pytest.MonkeyPatch.context() as patch:
        series = report.series_figure

        def recorded(panels, *arguments, **options):
            figure = series(panels, *arguments, **options)
            drawn["panels"], drawn["axes"] = panels, figure.axes
            return figure

        patch.setattr(report, "series_figure", recorded)
        run(own, chosen, folder)
    return drawn


def stations(tmp_path, name="run", places=(0.2, 0.7), units=True, **changes):
    """A run on values measured at a few places, ten times each, and what it draws of them."""
    time, x = (part.ravel() for part in np.meshgrid(np.linspace(0.1, 1, 10), places))
    data = points(len(time)).assign(time=("observation", time), x=("observation", x))
    data["value"][:] = np.exp(-RATE * time)
    if units:
        for of, unit in (("time", "s"), ("x", "m"), ("value", "mg/L")):
            data[of].attrs["units"] = unit
    drawn = drawn_by_run(problem(data), settings(**changes), tmp_path / name)
    return tmp_path / name, drawn


@pytest.mark.slow
def test_values_at_a_few_places_are_drawn_over_time_with_the_model_in_the_units_of_the_data(
    tmp_path,
):
    folder, drawn = stations(tmp_path)
    assert (folder / "figures" / "stations.png").is_file()
    assert (folder / "figures" / "agreement.png").is_file()
    ((quantity, series),) = drawn["panels"].items()
    assert quantity == "c (mg/L)"
    assert [one.label for one in series] == ["x = 0.2 m", "x = 0.7 m"]
    assert drawn["axes"][0].get_xlabel() == "time (s)"
    until = drawn["axes"][0].lines[-1].get_xdata()
    np.testing.assert_allclose(until, 0.7)
    for one in series:
        np.testing.assert_allclose(one.measured_times, np.linspace(0.1, 1, 10))  # later ones too
        np.testing.assert_allclose(one.measured, np.exp(-RATE * one.measured_times))
        np.testing.assert_allclose(one.predicted, np.exp(-RATE * one.times), rtol=1e-3)
        assert (one.times[0], one.times[-1]) == (0.0, 1.0)
        np.testing.assert_allclose(one.standard_deviation, 0.01)
    with xr.open_dataset(folder / "forecast.nc", engine="h5netcdf") as forecast:
        assert forecast["c_forecast"].attrs == {"long_name": "c", "units": "mg/L"}
        assert forecast["time"].attrs == {"long_name": "time", "units": "s"}


class Offset(Decay):
    shift: ipd.Parameter


class OffsetProblem(DecayProblem):
    """Two instruments measure the same, and one of them reads high."""

    names: tuple[str, ...] = ("high",)

    def model(self, settings, key):
        return Offset(
            GRID, ipd.Parameter(1.0, lower=0.0), ipd.Parameter(0.7, lower=0.0),
            ipd.Parameter(0.0, scale=0.1),
        )  # fmt: skip

    def quantities(self, u):
        return {"right": u["c"], "high": u["c"]}

    def offsets(self, model):
        return {name: model.shift() for name in self.names}


@pytest.mark.slow
def test_the_offset_of_an_instrument_is_found(tmp_path):
    own = OffsetProblem()
    own.name, own.dataset = "offset", points()
    quantity = np.where(np.arange(60) % 2, "high", "right")
    own.dataset["quantity"] = ("observation", quantity)
    own.dataset["value"] += 0.25 * (own.dataset["quantity"] == "high")
    training = {"optimizer": "levenberg_marquardt", "steps": 20}
    metrics = run(own, settings(training=training, observations={}), tmp_path / "run")
    assert metrics.identified["shift"].value == pytest.approx(0.25, abs=1e-4)
    assert metrics.identified["rate"].value == pytest.approx(RATE, rel=1e-3)
    assert metrics.misfit["train"]["high"].rms == pytest.approx(0.0, abs=1e-3)
    with xr.open_dataset(tmp_path / "run" / "forecast.nc", engine="h5netcdf") as forecast:
        assert forecast["high_forecast"].equals(forecast["right_forecast"])  # without it


def test_an_offset_of_no_quantity_is_refused(tmp_path):
    own = OffsetProblem()
    own.name, own.dataset, own.names = "offset", points(), ("low",)
    own.dataset["quantity"] = ("observation", np.full(60, "high"))
    with pytest.raises(ipd.InputError, match="offsets gives one of 'low', which is no quantity"):
        run(own, settings(observations={}), tmp_path / "run")


@pytest.mark.slow
def test_a_sample_of_each_set_is_drawn(tmp_path):
    time, sample, x = (
        part.ravel() for part in np.meshgrid(np.linspace(0.1, 1, 4), [0, 1, 2], [0.2, 0.7])
    )
    data = points(len(time)).assign(
        time=("observation", time), x=("observation", x), sample=("observation", sample)
    )
    data["value"][:] = np.exp(-RATE * time)
    chosen = settings(data={"test": [1]}, observations={})
    run(problem(data), chosen, tmp_path / "run")
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"stations_train", "stations_test"} <= figures


@pytest.mark.slow
def test_quantities_with_the_same_label_have_a_panel_each(tmp_path):
    class Two(DecayProblem):
        """Two tanks, of which the second has twice the level."""

        def quantities(self, u):
            return {"c": u["c"], "d": 2 * u["c"]}

    time, x = np.linspace(0.1, 1, 10), np.array([0.2, 0.7])
    field = (("sample", "time", "x"), np.exp(-RATE * time)[None, :, None] * np.ones((1, 10, 2)))
    own = Two()
    own.name, own.dataset = "two", xr.Dataset({"c": field, "d": field}, {"time": time, "x": x})
    for name in ("c", "d"):
        own.dataset[name].attrs = {"long_name": "level", "units": "m"}
    drawn = drawn_by_run(own, settings(observations={"start": 0.0}), tmp_path / "run")
    assert list(drawn["panels"]) == ["level (m)", "level (m), d"]


@pytest.mark.slow
def test_values_at_many_places_have_no_curves(tmp_path):
    folder, drawn = stations(tmp_path, places=np.linspace(0.1, 0.9, 9), units=False)
    assert not drawn
    assert not (folder / "figures" / "stations.png").exists()
    assert (folder / "figures" / "agreement.png").is_file()


def test_fields_are_values_at_every_cell_and_gaps_are_left_out():
    time, x = np.array([0.0, 0.1, 0.2]), GRID.axis_centers(0)
    field = (
        np.exp(-RATE * time)[None, :, None] * np.ones((2, 3, 8)) * np.array([1, 2])[:, None, None]
    )
    field[1, 2, 3:5] = np.nan
    dataset = xr.Dataset(
        {"c": (("sample", "time", "x"), field), "map": (("x",), x)}, {"time": time, "x": x}
    )
    found = measured(dataset, GRID, settings())
    assert len(found.training) == 2 * 2 * 8 - 2
    assert found.start == 0.0
    assert set(found.training.sample) == {0, 1}
    assert found.training.quantities == ("c",)
    first = initial_fields(dataset, GRID, ["c"])["c"]
    np.testing.assert_allclose(first, field[:, 0])
    finer = ipd.Grid((0.0,), (1.0,), (16,))
    assert initial_fields(dataset, finer, ["c"])["c"].shape == (2, 16)
    dataset["c"][0, 0, 2] = np.nan
    with pytest.raises(ipd.InputError, match="'c' has 1 gaps at the first time"):
        initial_fields(dataset, GRID, ["c"])


@pytest.mark.slow
def test_the_model_at_the_truth_predicts_the_values():
    experiment = experiment_of(problem(points()), settings())
    model = Decay(GRID, ipd.Parameter(RATE), ipd.Parameter(1.0))
    seen, (late,) = table_of(experiment), experiment.test
    assert len(seen) + len(late.table) == 60
    for table in (seen, late.table):
        found = predicted(experiment, model, table)
        np.testing.assert_allclose(found, table.value, rtol=2e-5)
        assert (misfits(table, found)["c"].relative_percent or 0.0) < 2e-3
    times = np.asarray(experiment.observations.times)
    states, _ = experiment.states(model, [0], times)
    fit = experiment.fit_to_training(model, states, times, seen)
    np.testing.assert_allclose(fit, seen.value, rtol=2e-5)


@pytest.mark.slow
def test_what_is_measured_at_the_start_is_read_there():
    """It depends on the amplitude alone, whatever happens later."""
    dataset, chosen = points(4), settings(observations={})
    dataset["time"] = ("observation", [0.0, 0.0, 0.5, 1.0])
    experiment = experiment_of(problem(dataset), chosen)
    model = Decay(GRID, ipd.Parameter(RATE), ipd.Parameter(0.7))
    table, loss = table_of(experiment), experiment.loss()
    np.testing.assert_allclose(loss.times, [0.0, 0.5, 1.0])

    def misfit(raw):
        return loss.misfit(eqx.tree_at(lambda m: m.rate.raw, model, raw), None)[0]

    residuals, slopes = jax.jvp(misfit, (model.rate.raw,), (jnp.ones(()),))
    size = np.linalg.norm(table.value)
    expected = (0.7 - table.value[:2]) / size
    np.testing.assert_allclose(residuals[:2], expected, rtol=1e-12)
    np.testing.assert_array_equal(slopes[:2], 0)
    assert (slopes[2:] != 0).all()
    np.testing.assert_allclose(predicted(experiment, model, table)[:2], 0.7, rtol=1e-12)


@pytest.mark.parametrize("own", [True, False])
def test_fields_at_the_start_are_values_where_the_initial_state_is_the_problem_s_own(own):
    class FromData(DecayProblem):
        initial_state = ipd.Problem.initial_state

    time, x = np.array([0.0, 0.1, 0.2]), GRID.axis_centers(0)
    dataset = xr.Dataset({"c": (("time", "x"), np.ones((3, 8)))}, {"time": time, "x": x})
    chosen = DecayProblem() if own else FromData()
    chosen.dataset, chosen.name = dataset, "decay"
    found = table_of(experiment_of(chosen, settings(observations={})))
    assert (found.time == 0).sum() == (8 if own else 0)
    later = table_of(experiment_of(chosen, settings(observations={"start": 0.1})))
    assert sorted(set(later.time)) == ([0.1, 0.2] if own else [0.2])


@pytest.mark.slow
def test_the_gradient_reaches_the_initial_state():
    own, chosen = problem(points(20)), settings()
    model = own.model(chosen, jax.random.key(0))
    loss = experiment_of(own, chosen).loss()

    def value(rate, amplitude):
        moved = eqx.tree_at(
            lambda m: (m.rate.raw, m.amplitude.raw),
            model,
            (jnp.asarray(rate), jnp.asarray(amplitude)),
        )
        return loss(moved, loss.probe())[0]

    slopes = jax.grad(value, argnums=(0, 1))(0.0, 0.0)
    h = 1e-5
    expected = [
        (value(h, 0.0) - value(-h, 0.0)) / (2 * h),
        (value(0.0, h) - value(0.0, -h)) / (2 * h),
    ]
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)


def test_steps_land_on_few_times_and_are_interpolated_for_many():
    few = output_times(0.0, np.array([0.5, 1.0, 0.5]), 0.1)
    np.testing.assert_allclose(few, [0.0, 0.5, 1.0])
    with_first = output_times(0.0, np.array([0.0, 0.5, 1.0]), 0.1)
    np.testing.assert_allclose(with_first, few)
    many = output_times(0.0, np.linspace(0.01, 1.0, 50), 0.1)
    np.testing.assert_allclose(many, np.arange(11) / 10)
    with pytest.raises(ipd.InputError, match="not after the initial state at t = 2"):
        output_times(2.0, np.array([1.0]), 0.1)


def test_adaptive_steps_land_on_the_measured_times_however_they_are_spaced():
    times = np.geomspace(1e-4, 1.0, 69)  # were 50 even times, between which states are interpolated
    found = output_times(0.0, np.append(times, times), ipd.AdaptiveStep())
    np.testing.assert_allclose(found, np.append(0.0, times))
    many = output_times(0.0, np.geomspace(1e-4, 1.0, 1000), ipd.AdaptiveStep(max_steps=40))
    assert len(many) == 21
    np.testing.assert_allclose(many[[0, 1, -1]], [0.0, 1e-4, 1.0])
    np.testing.assert_allclose(many[11], 1e-2, rtol=0.3)  # half of the data are earlier


@pytest.mark.parametrize(
    ("dataset", "changes", "words"),
    [
        (points().drop_vars("x"), {}, "have no x; points need time, quantity, value"),
        (points().assign(value=points()["value"] * np.nan), {}, "no values that are numbers"),
        (points(), {"observations": {"until": -1.0}}, "no value is at or before t = -1"),
        (points(), {"observations": {"start": 0.5}}, "before the initial state at t = 0.5"),
        (points(first=0.1), {"forecast": {"until": -0.5}}, "forecast.until: -0.5 is not after"),
    ],
)
def test_refuses_measurements_that_do_not_fit(tmp_path, dataset, changes, words):
    with pytest.raises(ipd.InputError, match=words):
        run(problem(dataset), settings(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_are_those_of_the_model():
    class Two(ipd.HybridModel):
        grid: ipd.Grid
        rates: list[ipd.Parameter]

        def latent(self, t):
            return jnp.zeros((1, 8)), {"law": jnp.zeros((3, 8))}, jnp.zeros(8)

        def tendency(self, t, u, latent):
            return u

    model = Two(GRID, [ipd.Parameter(1.0), ipd.Parameter(2.0)])
    own = problem(None)
    assert set(own.identified(model)) == {"rates.0", "rates.1"}
    names = set(own.latent_fields(model, jnp.zeros(())))
    assert names == {"0_x", "1_law_0", "1_law_1", "1_law_2", "2"}
    assert own.summary == "What decays at an unknown rate from an unknown amplitude"
    assert own.quantities(jnp.ones(3)).keys() == {"u"}


@pytest.mark.parametrize(
    ("name", "marks", "reason"),
    [
        ("held_out", [0, 0, 1], "'held_out', which was its name in earlier versions; rename it"),
        ("test", [0, 1, 2], "'test' of the data marks samples by 0 and 1, but holds"),
        ("test", [0, np.nan, 1], "marks samples by 0 and 1, but holds"),
    ],
)
def test_marks_that_could_be_misread_are_refused(name, marks, reason):
    fields = np.ones((3, 2, 8))
    coordinates = {"time": [0.0, 1.0], "x": np.asarray(GRID.axis_centers(0))}
    dataset = xr.Dataset({"c": (("sample", "time", "x"), fields)}, coordinates)
    dataset[name] = ("sample", marks)
    with pytest.raises(ipd.InputError, match=reason):
        as_data(dataset, None)
    assert as_data(dataset, [2]).test == [2]


def test_samples_of_points_are_renumbered_with_what_is_their_own():
    points = xr.Dataset(
        {
            "time": ("observation", [1.0, 1.0, 2.0, 2.0]),
            "x": ("observation", [0.5, 0.5, 0.5, 0.5]),
            "quantity": ("observation", ["c"] * 4),
            "value": ("observation", [10.0, 12.0, 20.0, 22.0]),
            "sample": ("observation", [0, 2, 1, 2]),
            "dose": ("trajectory", [0.1, 0.2, 0.3]),
            "test": ("trajectory", [0, 1, 0]),
        }
    )
    data = as_data(points, None)
    assert (data.training, data.test) == ([0, 2], [1])
    training = data.of(data.training)
    assert training["value"].to_numpy().tolist() == [10.0, 12.0, 22.0]
    assert training["sample"].to_numpy().tolist() == [0, 1, 1]
    found = {name: values.tolist() for name, values in conditions_of(training).items()}
    assert found == {"dose": [0.1, 0.3]}


@pytest.mark.parametrize(
    ("errors", "settled", "expected", "stated"),
    [
        (None, {}, [1.0, 1.0], [False, False]),
        ([0.1, 0.3, NAN, NAN], {}, [0.2, 0.2], [True, True]),
        ([0.1, NAN, NAN, NAN], {}, [0.55, 0.55], [False, False]),
        ([NAN, NAN, 0.1, NAN], {}, [0.1, 1.0], [True, False]),
        ([0.1, 0.3, NAN, 0.4], {"c": 0.5}, [0.5, 0.4], [True, True]),
        ([NAN, NAN, NAN, 0.4], 0.5, [0.5, 0.4], [True, True]),
    ],
)
def test_samples_are_judged_by_their_own_errors_or_those_of_the_samples_trained_on(
    errors, settled, expected, stated
):
    class Problem(ipd.Problem):
        name = "two"

        def model(self, settings, key):
            return Decay(GRID, ipd.Parameter(1.0), ipd.Parameter(1.0))

        def initial_state(self, settings, model, data):
            return {"c": jnp.ones(GRID.cells)}

        def data(self, settings):
            rows = {
                "time": [1.0, 2.0, 1.0, 2.0],
                "x": [0.5] * 4,
                "quantity": ["c"] * 4,
                "value": [1.0, 3.0, 10.0, 90.0],
                "sample": [0, 0, 1, 1],
                **({} if errors is None else {"standard_deviation": errors}),
            }
            return xr.Dataset({name: ("observation", column) for name, column in rows.items()})

    problem, chosen = Problem(), settings(observations={"standard_deviation": settled})
    experiment = Experiment(problem, chosen, as_data(problem.data(chosen), [1]))
    (others,) = experiment.test
    assert others.samples == [1]
    np.testing.assert_allclose(others.table.standard_deviation, expected)
    assert others.table.stated.tolist() == stated


@pytest.mark.parametrize(
    ("test", "batches"),
    [([1, 3, 4], [[0, 2, 2], [1, 3, 4]]), ([2], [[0, 1, 3, 4], [2]]), ([], [[0, 1, 2, 3, 4]])],
)
def test_batches_are_as_large_as_the_test_set_and_join_in_the_order_of_samples(test, batches):
    fields = np.broadcast_to(np.arange(5.0)[:, None, None], (5, 2, 3))
    data = as_data(xr.Dataset({"c": (("sample", "time", "x"), fields)}, {"time": [0.0, 1.0]}), test)
    assert data.batches == batches
    states = [{"c": np.moveaxis(data.of(batch)["c"].to_numpy(), 0, 1)} for batch in batches]
    np.testing.assert_array_equal(data.joined(states)["c"], np.moveaxis(fields, 0, 1))
