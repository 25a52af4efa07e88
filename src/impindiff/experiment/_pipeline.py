"""The main job: data, training, forecast, metrics, figures."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff import report
from impindiff.advice import numerical_diffusion
from impindiff.data import (
    FORECAST_SUFFIX,
    TRUTH_SUFFIX,
    forecast_dataset,
    labels_of,
    provenance,
    read,
    require_format,
    require_writable,
    write,
    write_netcdf,
)
from impindiff.data.layout import Attributes
from impindiff.devices import Mesh
from impindiff.errors import InputError
from impindiff.experiment import directory
from impindiff.experiment._metrics import (
    chosen_prior,
    forecast_errors,
    identified_numbers,
    instrument_check,
    latent_errors,
    misfits,
    model_check,
    training_metrics,
)
from impindiff.experiment._posterior import add_bands, uncertainty, write_posterior
from impindiff.experiment._stations import station_series
from impindiff.experiment.experiment import Experiment, at_times, members_of
from impindiff.experiment.figures import draw_figures, middle_sample
from impindiff.experiment.opened import Run
from impindiff.experiment.sizes import (
    require_parameters_fit,
    require_problem_fits,
    require_rollout_fits,
)
from impindiff.experiment.training import train
from impindiff.grid import Grid
from impindiff.inference import Identifiability
from impindiff.observations import Measurements, relative_l1_percent
from impindiff.operators.notes import noting
from impindiff.problem import Problem, as_data, checked, located, require_consistent
from impindiff.problem.findings import Findings
from impindiff.results import METRICS, RunMetrics, finite
from impindiff.rollout import depends_on_time
from impindiff.rollout.samples import find_batch_ndim, of_sample
from impindiff.settings.sections import ProblemSettings
from impindiff.settings.steps import describe_steps
from impindiff.steppers import HybridModel
from impindiff.training import Progress, TrajectoryLoss

_FIGURES = 2_000_000  # bytes, approximately
_NOT_DETERMINED = "the data do not determine all parameters: {}"


def prepare(problem: Problem, settings: ProblemSettings, stored: Path | None = None) -> Experiment:
    """Prepare an experiment, in the precision of the settings; nothing is written.

    **Arguments:**

    - `stored`: data of an earlier session, in place of computed ones.

    **Raises:** `InputError` for invalid settings, hooks or data, and for too little memory.
    """
    directory.set_precision(settings)
    settings = directory.with_absolute_path(settings)
    problem = checked(problem)
    require_problem_fits(problem, settings)
    own = stored is not None and settings.data.path is None and stored.is_file()
    dataset = read(stored) if own and stored is not None else problem.data(settings)
    data = as_data(dataset, settings.data.test)
    settings = problem.configured(settings, data.dataset)
    experiment = Experiment(problem, settings, data)
    example = experiment.method.example
    require_consistent(problem, settings, example, data, experiment.observations)
    _require_fits(experiment, float(experiment.forecast_times()[-1]))
    require_parameters_fit(experiment)
    return experiment


@located()
def run(
    problem: Problem,
    settings: ProblemSettings,
    folder: Path,
    *,
    resume: bool = False,
    mesh: Mesh | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Progress], None] = lambda progress: None,
) -> RunMetrics:
    """Run a problem from data to figures in `folder`; returns the metrics, which are also written.

    **Arguments:**

    - `mesh`: devices to train on; None: one.
    - `say`: receives progress messages, a line at a time.
    - `show`: receives each training step.

    **Raises:** `InputError` before anything is written if settings or data are wrong, with the line
    of the problem's file where that is at fault; `TrainingError` or `SolverError` when training or
    the forecast cannot continue.
    """
    start = time.perf_counter()
    experiment = prepare(problem, settings, folder / directory.DATA if resume else None)
    problem = experiment.problem
    say(_what_was_measured(experiment))
    trained = train(
        experiment,
        folder,
        results_size=_results_size(experiment),
        store=lambda folder: _store(experiment, folder),
        resume=resume,
        mesh=mesh,
        say=say,
        show=show,
    )
    loss, fitted = trained.loss, trained.fitted
    chosen = chosen_prior(fitted)
    if chosen is not None:
        say(f"chosen by the data: {', '.join(f'{name} {x:.3g}' for name, x in chosen.items())}")
    model = fitted.model
    directory.write_model(folder, model)
    say("forecast, metrics and figures")

    data, found = experiment.data, experiment.observations
    forecast_times = experiment.forecast_times()
    needed = experiment.evaluated_times
    states, failure = experiment.states_of_all(model, needed)
    if failure is not None and not trained.settings.forecast.keep_failed:
        raise failure
    shown = np.abs(needed[None, :] - forecast_times[:, None]).argmin(axis=1)
    latent = experiment.latent_fields(model, forecast_times)
    forecast = _forecast(experiment, latent, at_times(states, shown), forecast_times)
    series = station_series(experiment, model, states, needed, forecast)
    # integrators of other libraries have no derivatives in forward mode
    sure, banded = None, trained.settings.forecast.bands and experiment.method.simulate() is None
    if banded or experiment.identified(model):
        sure = uncertainty(experiment, fitted, loss)
    if banded and sure is not None and sure.is_finite:
        with_bands = add_bands(
            experiment, sure.posterior, states[0], needed, shown, latent, forecast, series
        )
        if with_bands is None:
            say("no bands: a solve of the forecast's derivative failed")
        series = series if with_bands is None else with_bands
        write_posterior(folder / directory.POSTERIOR, sure.posterior)
    write_netcdf(forecast, folder / "forecast.nc")

    sets, predicted = {}, {}
    if found.table is not None:
        sets["train"] = found.table
        predicted["train"] = experiment.fit_to_training(
            model, _of(states, data.training), needed, found.table
        )
    for part in experiment.test:
        values = experiment.predicted(model, _of(states, part.samples), needed, part.table)
        known = sets.get("test")
        sets["test"] = part.table if known is None else known.with_rows(part.table)
        predicted["test"] = np.append(predicted.get("test", np.empty(0)), values)
    identified, warnings, told = identified_numbers(experiment, fitted, sure)
    measured = data.scattered or experiment.is_measured
    warned = bool(identified) or (measured and bool(latent))
    warnings += _warnings(members_of(model)[0], loss) if warned else []
    findings = experiment.findings(fitted, loss)
    if findings.identifiability is None and told is not None:
        findings = _with_identifiability(findings, told)
        warnings += [] if told.is_complete else [_NOT_DETERMINED.format(told.weakest())]
    for line in warnings:
        say(f"warning: {line}")
    checked = None
    if "train" in sets:
        checked = model_check(experiment, fitted, sets["train"], predicted["train"])
    elif isinstance(found.operator, Measurements):
        read = found.operator.table(found.values, len(data.training), found.times)
        simulated = experiment.fit_to_training(model, _of(states, data.training), needed, read)
        checked = instrument_check(fitted, read, simulated)
    truths = experiment.true_latent(latent)
    draw_figures(
        experiment, forecast, latent, sets, predicted, series, identified, findings, folder
    )
    for line in findings.lines:
        say(line)
    times = data.dataset["time"].to_numpy().astype(float)
    at_data = latent
    if truths and not np.array_equal(times, forecast_times):
        at_data = experiment.latent_fields(model, times)
    metrics = RunMetrics(
        problem=problem.name,
        summary=problem.summary,
        infers=problem.infers or None,
        labels=dict(problem.labels),
        trained_until=found.times[-1],
        forecast=forecast_errors(experiment, forecast),
        latent=latent_errors(
            at_data, truths, times, len(experiment.dataset_coordinates()), experiment.volumes
        ),
        misfit={name: misfits(table, predicted[name]) for name, table in sets.items()},
        identified=identified,
        warnings=warnings,
        notes=list(findings.lines),
        model_check=checked,
        **training_metrics(
            trained.settings,
            fitted,
            loss,
            trained.choices,
            experiment.method.automatic_choice,
            start,
        ),
    ).with_sections(findings.metrics)
    metrics.write(folder / METRICS)
    return metrics


def _with_identifiability(findings: Findings, told: Identifiability) -> Findings:
    """Add which parameters the data tell apart, unless they see none."""
    if not len(told.singular_values):
        return findings
    section = {
        "condition_indices": finite(told.condition_indices.tolist()),
        "weakest": told.weakest(),
    }
    metrics = {**findings.metrics, "identifiability": section}
    return dataclasses.replace(findings, identifiability=told, metrics=metrics)


class Forecast(NamedTuple):
    """A longer forecast and its file.

    - `dataset`: the layout of `forecast_dataset`, all samples.
    - `path`: its file.
    - `animation`: the file of its animation, if one was requested.
    - `error_percent`: relative L1 error at the last time, the mean over the test samples (over all
      without a test set), if the truth is known.
    """

    dataset: xr.Dataset
    path: Path
    animation: Path | None
    error_percent: float | None


@located()
def forecast(
    folder: Path,
    until: float,
    out: Path | None = None,
    *,
    animate: Path | None = None,
    sample: int | None = None,
    bands: bool = True,
    changed_data: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Forecast:
    """Forecast every sample of a trained run from its initial state to `until`, and store it.

    Where the problem computes its own data, the truth is extended to `until` and stored too. For a
    user-defined problem this executes the copy of its file in the run, and no other.

    **Arguments:**

    - `out`: the file to write; by default forecast_until_T.nc in `folder`.
    - `animate`, `sample`: the file of an animation, .mp4 or .gif (see `animate_forecast`), and the
      sample that it shows, by default the middle one of the test set.
    - `bands`: with the standard deviations of a run that has a posterior (`forecast.bands`).
    - `changed_data`: continue with files that have changed since the run began.
    - `warn`: receives, before anything is computed, a warning of extrapolation beyond the training
      range (see `extrapolation`).

    **Raises:** `InputError` for a folder that is not a trained run, a time that is not after the
    initial one, a sample that does not exist, or files that cannot be written.
    """
    out = folder / f"forecast_until_{until:g}.nc" if out is None else out
    animation = None if animate is None else report.animation_path(animate)
    directory.require_same_files(folder, changed=changed_data)
    opened = Run(folder)
    experiment, model = opened.experiment, opened.model
    settings, problem, data = experiment.settings, experiment.problem, experiment.data
    require_format(out, points=False)
    if animation is not None:
        require_writable(animation)
    first = experiment.start
    if not first < until < np.inf:
        raise InputError(f"--until: {until:g} is not a time after the initial one, {first:g}")
    require_problem_fits(problem, settings, until)
    _require_fits(experiment, until)
    last_sample = data.samples - 1
    if sample is not None and not 0 <= sample <= last_sample:
        raise InputError(f"--sample: there is no sample {sample}; they go from 0 to {last_sample}")
    horizon = float(experiment.observations.times[-1])
    warning = extrapolation(members_of(model)[0], problem.latent_figure, horizon, until)
    if warning is not None:
        warn(warning)

    times = (
        experiment.steady_times(until)
        if experiment.is_steady
        else experiment.even_times(first, until, settings.forecast.every)
    )
    computed = settings.data.path is None and type(problem).reference is not Problem.reference
    if computed:
        data = as_data(problem.reference(settings, until), settings.data.test)
        experiment = Experiment(problem, settings, data)
        if not data.scattered:
            there = data.dataset["time"].to_numpy().astype(float)
            times = there[(there <= until * (1 + 1e-9)) & (there >= first)]
    states, failure = experiment.states(model, range(data.samples), times)
    if failure is not None and not settings.forecast.keep_failed:
        raise failure
    latent = experiment.latent_fields(model, times)
    dataset = _forecast(experiment, latent, states, times, truth=computed)
    if bands and opened.has_posterior:
        every = np.arange(len(times))
        found = add_bands(experiment, opened.posterior, states[0], times, every, latent, dataset)
        if found is None:
            warn("no bands: a solve of the forecast's derivative failed")
    write(dataset, out)
    judged = data.test or list(range(data.samples))
    names = [str(n).removesuffix(FORECAST_SUFFIX) for n in dataset if FORECAST_SUFFIX in str(n)]
    if animation is not None:
        sample = middle_sample(judged) if sample is None else sample
        report.animate_forecast(dataset, sample, animation, names[0], horizon)
    errors = []
    for name in names:
        if f"{name}{TRUTH_SUFFIX}" in dataset:
            truth = dataset[f"{name}{TRUTH_SUFFIX}"].to_numpy()[judged, -1]
            found = dataset[f"{name}{FORECAST_SUFFIX}"].to_numpy()[judged, -1]
            percent = relative_l1_percent(
                found, truth, space_axes=truth.ndim - 1, volumes=experiment.volumes
            )
            errors.append(percent.mean())
    return Forecast(dataset, out, animation, float(np.mean(errors)) if errors else None)


def extrapolation(model: Any, latent: str, horizon: float, until: float) -> str | None:
    """Warning for a forecast to `until` by a model trained on data up to `horizon`, or None.

    There is none for a steady latent field, or within the training range. A time-dependent one is
    arbitrary beyond the horizon.

    - `latent`: name of the latent field.
    """
    if until <= horizon * (1 + 1e-9) or not isinstance(model, HybridModel):
        return None
    if not depends_on_time(model, jnp.asarray(horizon)):
        return None
    return (
        f"the {latent} depends on time and is extrapolated: trained until t = {horizon:g}, "
        f"forecast until t = {until:g}; the training misfit does not bound the error beyond"
    )


def _forecast(
    experiment: Experiment,
    latent: Mapping[str, Float[np.ndarray, "..."]],
    states: Sequence[Any],
    times: Float[np.ndarray, " time"],
    *,
    truth: bool = True,
) -> xr.Dataset:
    """Every quantity as `NAME_forecast` on (`sample`, `time`, space), and the latent fields."""
    problem, settings, data = experiment.problem, experiment.settings, experiment.data
    coordinates = experiment.dataset_coordinates()
    attributes = _with_axes(labels_of(data.dataset), coordinates, experiment.method.example.grid)
    told = provenance(
        f"Forecast of {problem.name}",
        describe_steps(settings.stepper.name, problem.step(settings)),
        settings.model_dump(mode="json"),
    )
    known = experiment.truth_at(times) if truth else {}
    parts = [
        forecast_dataset(
            members.mean(axis=0),
            times,
            coordinates,
            np.isin(np.arange(data.samples), data.test),
            truth=known.get(name),
            variable=name,
            attrs=told,
            variable_attrs=attributes,
            spread=members.std(axis=0, ddof=1) if len(members) > 1 else None,
            volumes=experiment.volumes,
        )
        for name, members in experiment.at_data(states).items()
    ]
    forecast = xr.merge(parts, combine_attrs="override", compat="equals", join="exact")
    for name in known if experiment.is_measured else ():
        forecast[f"{name}{TRUTH_SUFFIX}"].attrs["source"] = "measurements"
    shape = tuple(len(centres) for centres in coordinates.values())
    for name, values in latent.items():
        space = values.shape[-len(shape) :]
        axes = tuple(coordinates) if space == shape else tuple(f"{a}_model" for a in coordinates)
        dimensions = axes if values.ndim == len(shape) else ("time", *axes)
        described = {"long_name": name.replace("_", " "), **attributes.get(name, {})}
        forecast[name] = (dimensions, values, described)
    return forecast


def _with_axes(labels: Attributes, axes: Iterable[str], grid: Grid) -> Attributes:
    """Labels with the names of radial axes, where data have no others."""
    if grid.coordinates == "cartesian":
        return labels
    found = {name: dict(of) for name, of in labels.items()}
    for axis, name in zip(axes, grid.axis_names, strict=True):
        own = found.setdefault(axis, {})
        if own.get("long_name", f"position along {axis}") == f"position along {axis}":
            own["long_name"] = name
    return found


def _of(states: Sequence[Any], samples: Sequence[int]) -> list[Any]:
    return [jax.tree.map(lambda x: x[:, list(samples)], u) for u in states]


def _store(experiment: Experiment, folder: Path) -> None:
    """Store the run's inputs: the problem's file, and computed data."""
    directory.write_problem(folder, experiment.problem)
    path = folder / directory.DATA
    if experiment.settings.data.path is None and not path.is_file():
        write(experiment.data.dataset, path)


def _warnings(model: Any, loss: TrajectoryLoss) -> list[str]:
    prepared, u0 = (model, loss.u0) if loss.prepare is None else loss.prepare(model)
    if not isinstance(prepared, HybridModel):
        return []
    times = loss.times
    try:
        if not _has_first_order_scheme(prepared, u0, times[0]):
            return []
        found = [
            numerical_diffusion(prepared, u0, t)
            for t in (times[0], times[len(times) // 2], times[-1])
        ]
    except InputError:  # there is no grid, or training has made the equation ill-posed
        return []
    worst = max(found, key=lambda at: at.relative)
    return [str(worst)] if worst.is_notable else []


def _has_first_order_scheme(model: HybridModel, u: Any, t: float) -> bool:
    """True if a tendency uses one; traced, for some seconds less than its evaluation compiles."""
    batch_ndim = find_batch_ndim(model, u)

    def noted() -> list[Any]:
        now, first = jnp.asarray(t), jnp.zeros(batch_ndim, int)
        one = jax.tree.map(lambda leaf: leaf[(0,) * batch_ndim], u)
        with noting("numerical_diffusivity") as found:
            model.tendency(now, one, of_sample(model.latent(now), first))
        return found["numerical_diffusivity"]

    return bool(jax.eval_shape(noted))


def _what_was_measured(experiment: Experiment) -> str:
    data, table = experiment.data, experiment.observations.table
    path = experiment.settings.data.path
    source = "data" if path is None else f"data {path}"
    samples = f"{data.samples} samples" if data.samples > 1 else "1 sample"
    if data.test:
        samples += f", {len(data.test)} of them for testing"
    if table is None:
        return f"{source}: {samples}"
    counts = ", ".join(
        f"{int((table.quantity == name).sum())} values of {name}" for name in table.quantities
    )
    late = sum(len(part.table) for part in experiment.test if part.samples == data.training)
    later = f"; {late} later ones for testing" if late else ""
    return f"{source}: {counts}, t = {table.time.min():g} to {table.time.max():g}; {samples}{later}"


def _state_shapes(experiment: Experiment) -> Any:
    every = range(experiment.data.samples)
    dataset = experiment.data.of(every)
    return jax.eval_shape(
        lambda: experiment.problem.start(
            experiment.settings, experiment.method.example, dataset, len(every)
        )
    )


def _require_fits(experiment: Experiment, until: float) -> None:
    """Refuse a forecast, and training of that length, that need more memory than available."""
    problem, settings = experiment.problem, experiment.settings
    every, first = settings.forecast.every, experiment.start
    outputs = 50 if every is None else (until - first) / every
    step = problem.step(settings)
    require_rollout_fits(_state_shapes(experiment), outputs, first, until, step)


def _results_size(experiment: Experiment) -> int:
    """Approximate bytes of data.nc, forecast.nc (forecast, truth, spread) and figures."""
    data = experiment.data.dataset
    known = sum(field.nbytes for field in experiment.truth.values())
    stored = data.nbytes if experiment.settings.data.path is None else 0
    state = jax.tree.leaves(_state_shapes(experiment))
    one = sum(leaf.size * leaf.dtype.itemsize for leaf in state)
    return stored + 2 * known + one * (len(experiment.forecast_times()) + 1) + _FIGURES
