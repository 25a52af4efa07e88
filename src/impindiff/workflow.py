"""The main job: data, training, forecast, metrics, figures."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff import report, run_directory
from impindiff.cases import Case, Data
from impindiff.cases.settings import CaseSettings
from impindiff.cases.step_settings import describe_steps
from impindiff.devices import Mesh
from impindiff.ensembles import EnsembleCase, as_configured
from impindiff.errors import InputError
from impindiff.observations import (
    Trajectories,
    forecast_dataset,
    provenance,
    relative_l1_percent,
    require_writable,
    write_netcdf,
)
from impindiff.observations.checks import up_to
from impindiff.opened_run import Run
from impindiff.results import METRICS, RunMetrics
from impindiff.rollout import depends_on_time, number_of_steps
from impindiff.run_figures import draw_figures, draw_findings, middle_sample
from impindiff.run_metrics import (
    forecast_errors,
    identified_numbers,
    latent_errors,
    training_metrics,
)
from impindiff.run_training import forecast_times, held_out_error, results_size, train
from impindiff.sizes import require_case_fits, require_rollout_fits
from impindiff.steppers import HybridModel
from impindiff.training import Ensemble, Progress


def prepare(case: Case, settings: CaseSettings) -> tuple[Data, Any]:
    """The data, and the settings with everything the data determine filled in.

    Raises `InputError` for data or settings that do not fit each other; nothing is written.
    """
    path = settings.data.path
    if path is None:
        trajectories = case.reference(settings)
        held_out = case.held_out(settings)
    else:
        trajectories, settings = case.read(settings, path)
        held_out = list(settings.data.held_out)
    training, held_out = trajectories.split(held_out)
    forecast_times(trajectories, settings)
    return Data(trajectories, training, held_out), settings


def run_case(
    case: Case,
    settings: CaseSettings,
    folder: Path,
    *,
    resume: bool = False,
    mesh: Mesh | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Progress], None] = lambda progress: None,
) -> RunMetrics:
    """Run a case from data to figures in `folder`; returns the metrics that it also writes.

    - `mesh`: the devices to train on; None: one.
    - `say`: told what happens, a line at a time.
    - `show`: told about each training step.

    Raises `InputError` before anything is written if settings or data are wrong; `TrainingError`
    or `SolverError` when training or the forecast cannot go on.
    """
    start = time.perf_counter()
    run_directory.set_precision(settings)
    settings = run_directory.with_absolute_path(settings)
    say("data: " + (f"{settings.data.path}" if settings.data.path else "solving for the reference"))
    require_case_fits(case, settings)
    case = as_configured(case, settings)
    data, settings = prepare(case, settings)
    trained = train(
        case,
        settings,
        data,
        folder,
        results_size=results_size(data),
        store=lambda folder: _store_reference(data, settings, folder, keep=resume),
        evaluate=held_out_error(case, settings, data) if data.held_out else None,
        resume=resume,
        mesh=mesh,
        say=say,
        show=show,
    )
    settings, loss, fitted = trained.settings, trained.loss, trained.fitted
    run_directory.write_model(folder, fitted.model)
    say("forecast, metrics and figures")
    forecast = _forecast_of_data(case, settings, data, fitted.model)
    write_netcdf(forecast, folder / "forecast.nc")
    identified = identified_numbers(case, settings, fitted, loss)
    findings = case.findings(settings, data, fitted, loss)
    draw_figures(case, settings, data, fitted.model, loss.observe, forecast, identified, folder)
    draw_findings(findings, folder)
    for line in findings.lines:
        say(line)
    metrics = RunMetrics(
        problem=case.name,
        summary=case.summary,
        infers=case.infers,
        trained_until=max(case.observed_times(settings), default=None),
        forecast=forecast_errors(data, forecast),
        latent=latent_errors(case, data.trajectories, fitted.model),
        identified=identified,
        **training_metrics(settings, fitted, loss, trained.choices, start),
    ).with_sections(findings.metrics)
    metrics.write(folder / METRICS)
    return metrics


def _store_reference(data: Data, settings: CaseSettings, folder: Path, *, keep: bool) -> None:
    there = keep and (folder / run_directory.DATA).is_file()
    if settings.data.path is None and not there:
        data.trajectories.to_netcdf(folder / run_directory.DATA)


class Forecast(NamedTuple):
    """A longer forecast and where it is.

    - `dataset`: the layout of `forecast_dataset`, all samples.
    - `path`: its file.
    - `animation`: the file of its animation, if one was asked for.
    - `error_percent`: relative L1 error at the last time, the mean over the held-out samples (over
      all where none is), if the truth is known.
    """

    dataset: xr.Dataset
    path: Path
    animation: Path | None
    error_percent: float | None


def forecast_run(
    folder: Path,
    until: float,
    out: Path | None = None,
    *,
    animate: Path | None = None,
    sample: int | None = None,
    changed_data: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> Forecast:
    """Forecast every sample of a trained run from its initial state to `until`, and store it.

    For reference data the truth is computed as far and stored beside.

    - `out`: the file to write; by default forecast_until_T.nc in `folder`.
    - `animate`, `sample`: the file of an animation, .mp4 or .gif (see `animate_forecast`), and
      which sample it shows, by default the middle held-out one.
    - `changed_data`: go on with files that are not what they were when the run began.
    - `warn`: told, before anything is computed, what the forecast rests on that training did not
      see (see `extrapolation`).

    Raises `InputError` for a folder that is not a trained run, a time that is not after the initial
    one, a sample that there is not, or files that cannot be written.
    """
    out = folder / f"forecast_until_{until:g}.nc" if out is None else out
    animation = None if animate is None else report.animation_path(animate)
    run_directory.require_same_files(folder, changed=changed_data)
    run = Run(folder)
    settings, model, data = run.settings, run.model, run.data
    case = as_configured(run.case, settings)
    for path in filter(None, (out, animation)):
        require_writable(path)
    first = float(data.times[0])
    if not first < until < np.inf:
        raise InputError(f"--until: {until:g} is not a time after the initial one, {first:g}")
    require_case_fits(case, settings, until)
    outputs = (until - first) / settings.forecast.every
    require_rollout_fits(data.field[:, 0], outputs, first, until, case.step(settings))
    last_sample = len(data.field) - 1
    if sample is not None and not 0 <= sample <= last_sample:
        raise InputError(f"--sample: there is no sample {sample}; they go from 0 to {last_sample}")
    horizon = float(max(case.observed_times(settings), default=data.times[-1]))
    warning = extrapolation(model, case.latent_figure, horizon, until)
    if warning is not None:
        warn(warning)

    if settings.data.path is None:
        data = case.reference(settings, until=until)
        times = data.times[up_to(data.times, until)]
        truth = data.field[:, : len(times)]
        held_out = case.held_out(settings)
    else:
        count = number_of_steps([first, until], settings.forecast.every)
        times = np.linspace(first, until, count + 1)
        truth, held_out = None, list(settings.data.held_out)
    judged = held_out or list(range(len(data.field)))
    dataset = _forecast(case, settings, data, model, times, truth, held_out)
    write_netcdf(dataset, out)
    if animation is not None:
        sample = middle_sample(judged) if sample is None else sample
        report.animate_forecast(dataset, sample, animation, data.variable, horizon)
    error = None
    if truth is not None:
        found = dataset[f"{data.variable}_forecast"].to_numpy()
        percent = relative_l1_percent(
            found[judged, -1], truth[judged, -1], space_axes=len(data.cells)
        )
        error = float(percent.mean())
    return Forecast(dataset, out, animation, error)


def extrapolation(model: eqx.Module, latent: str, horizon: float, until: float) -> str | None:
    """What to warn of in a forecast until `until` of a model that saw data until `horizon`.

    A latent field that is steady, or still within its training, is nothing to warn of: None. One
    that depends on time is, beyond the horizon, whatever its network happens to be there.

    - `latent`: what the latent field is called.
    """
    if isinstance(model, Ensemble):
        model = model.members[0]
    if until <= horizon * (1 + 1e-9) or not isinstance(model, HybridModel):
        return None
    if not depends_on_time(model, jnp.asarray(horizon)):
        return None
    return (
        f"the {latent} depends on time and is extrapolated: trained until t = {horizon:g}, "
        f"forecast until t = {until:g}; the training misfit does not bound the error beyond"
    )


def _forecast(
    case: Case,
    settings: CaseSettings,
    data: Trajectories,
    model: eqx.Module,
    times: Float[np.ndarray, " times"],
    truth: Float[np.ndarray, "sample time *space"] | None,
    held_out: list[int],
) -> xr.Dataset:
    every, spread = range(len(data.field)), None
    if isinstance(case, EnsembleCase) and isinstance(model, Ensemble):
        each, failure = case.forecasts(settings, model, data, every, times)
        found, spread = each.mean(axis=0), np.moveaxis(each.std(axis=0, ddof=1), 0, 1)
    else:
        found, failure = case.forecast(settings, model, data, every, times)
    if failure is not None and not settings.forecast.keep_failed:
        raise failure
    return forecast_dataset(
        np.moveaxis(found, 0, 1),
        times,
        data.coordinates,
        np.isin(np.arange(len(data.field)), held_out),
        truth=truth,
        variable=data.variable,
        attrs=provenance(
            "Forecast of a trained hybrid model",
            describe_steps(settings.stepper.name, case.step(settings)),
            settings.model_dump(mode="json"),
        ),
        variable_attrs=data.variable_attrs,
        spread=spread,
    )


def _forecast_of_data(
    case: Case, settings: CaseSettings, data: Data, model: eqx.Module
) -> xr.Dataset:
    trajectories = data.trajectories
    times = forecast_times(trajectories, settings)
    truth = trajectories.field[:, : len(times)]
    return _forecast(case, settings, trajectories, model, times, truth, data.held_out)
