"""The page of a run."""

from pathlib import Path

import xarray as xr

from impindiff.data import TEST
from impindiff.errors import InputError
from impindiff.experiment.directory import CONFIGURATION, MODULES, PROBLEM
from impindiff.experiment.opened import Run
from impindiff.pages._blocks import Block, Code, Film, Folded, Gallery, Page, Prose, Section
from impindiff.pages._pictures import figures_in, film
from impindiff.pages._provenance import facts_tables, footer
from impindiff.pages._run_tables import run_tables
from impindiff.pages._words import capitalised, humanised, listed
from impindiff.pages.numbers import duration, memory, percent
from impindiff.results import RunMetrics

_FORECAST = "forecast.nc"


def run_page(folder: Path) -> Page:
    """Build the page: results of a finished run, forecast errors, and how to reproduce it.

    The animation is left out if forecast.nc is missing, and so are missing figures. No code in the
    folder is executed.

    **Raises:** `InputError` for a folder that is not a run, or one that has not ended.
    """
    run = Run(folder)
    metrics = run.metrics
    pictures = figures_in(folder / "figures", metrics.labels)
    sections = [
        Section("results", "Results", [*_warnings(metrics), run_tables(metrics)]),
        Section("forecast", "Forecast in motion", _film(folder / _FORECAST, metrics.trained_until)),
        Section("figures", "Figures", [Gallery(pictures)] if pictures else []),
        Section("reproduce", "How to reproduce", _reproduction(run)),
    ]
    return Page(
        title=capitalised(metrics.summary or humanised(metrics.problem)),
        kind=f"Run of {metrics.problem}",
        summary=_summary(metrics),
        tiles=_tiles(metrics),
        sections=[section for section in sections if section.blocks],
        footer=footer(),
    )


def _summary(metrics: RunMetrics) -> str:
    text = "This run fits a model to data"
    if metrics.infers:
        text = f"This run infers {metrics.infers}"
    elif metrics.identified:
        names = [humanised(name, metrics.labels) for name in metrics.identified]
        text = f"This run estimates {listed(names)}"
    forecast, train = metrics.forecast, metrics.train
    if forecast is not None:
        errors = forecast.relative_l1_percent
        which = "test" if "test" in errors else "train"
        if errors.get(which) is not None:
            text += (
                f"; its forecast of the {humanised(which).replace(' ', '-')} samples is off by "
                f"{percent(errors[which])} at t = {forecast.last_time:g} (relative L1 norm)"
            )
    steps = f"{train.steps} training step{'s' * (train.steps != 1)}"
    return f"{text}, after {steps} in {duration(train.seconds)}."


def _warnings(metrics: RunMetrics) -> list[Block]:
    lines = [f"Warning: {line}." for line in metrics.warnings]
    if metrics.model_check is not None:
        lines.append(f"Check of the residuals: {metrics.model_check.verdict}.")
    lines += metrics.notes
    return [Prose(line) for line in lines]


def _tiles(metrics: RunMetrics) -> list[tuple[str, str]]:
    tiles = []
    if metrics.forecast is not None:
        tiles += [
            (f"forecast error, {humanised(name, metrics.labels)}", percent(value))
            for name, value in metrics.forecast.relative_l1_percent.items()
        ]
    tiles += [
        (f"misfit of {name}, {humanised(which)}", percent(found.relative_percent))
        for which, quantities in metrics.misfit.items()
        for name, found in quantities.items()
    ]
    if metrics.latent is not None:
        tiles += [
            (f"error of {humanised(name, metrics.labels)}", percent(value))
            for errors in (metrics.latent.relative_l1_percent, metrics.latent.relative_l2_percent)
            for name, value in errors.items()
        ]
    tiles.append(("training time", duration(metrics.train.seconds)))
    tiles.append(("peak memory", memory(metrics.memory.peak_rss_mb)))
    return tiles


def _film(path: Path, horizon: float | None) -> list[Block]:
    if not path.is_file():
        return []
    try:
        forecast = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as NetCDF ({error}); remove it for a page without animation"
        ) from None
    if TEST not in forecast.coords:
        raise InputError(
            f"{path}: has no coordinate '{TEST}', so an earlier version made it; run again, or "
            f"remove it for a page without animation"
        )
    return [Film(film(forecast, horizon))]


def _reproduction(run: Run) -> list[Block]:
    command, data = run.command, run.configuration.get("data")
    configuration = (run.path / CONFIGURATION).read_text()
    blocks: list[Block] = [
        Prose("Save the configuration below as config.yaml, with the versions below, and run:"),
        Code(f"impindiff run {command} --config config.yaml", "command"),
    ]
    if isinstance(data, dict) and data.get("path") is not None:
        blocks.append(Prose(f"The data are measurements, read from {data['path']}."))
    source = run.path / PROBLEM
    if source.is_file():
        text = source.read_text().rstrip()
        blocks.append(Folded(f"Problem, {command}", [Code(text, command)]))
    for module in sorted((run.path / MODULES).glob("*.py")):
        text = module.read_text().rstrip()
        blocks.append(Folded(f"Imported, {module.name}", [Code(text, module.name)]))
    blocks.append(Folded("Configuration", [Code(configuration.rstrip(), "config.yaml")]))
    return [*blocks, facts_tables(run.metrics.versions)]
