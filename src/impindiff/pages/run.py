"""The page of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from impindiff import run_directory
from impindiff.cases import Case
from impindiff.errors import InputError
from impindiff.pages.blocks import Block, Code, Film, Folded, Gallery, Page, Prose, Section
from impindiff.pages.numbers import duration, memory, percent
from impindiff.pages.pictures import figures_in, film
from impindiff.pages.provenance import facts_tables, footer
from impindiff.pages.run_tables import last_time, run_tables
from impindiff.pages.words import capitalised, humanised

METRICS = "metrics.json"
_FORECAST = "forecast.nc"


def run_page(folder: Path) -> Page:
    """What a finished run found, how well it forecasts, and how to repeat it.

    The animation is left out where forecast.nc is no longer there, and figures likewise.

    **Raises:** `InputError` for a folder that is not a run, or one that has not ended.
    """
    case, settings = run_directory.read_configuration(folder)
    metrics = _read_metrics(folder, case)
    forecast = folder / _FORECAST
    film_of = _film(forecast, case, settings) if forecast.is_file() else []
    pictures = figures_in(folder / "figures")
    sections = [
        Section("results", "Results", [run_tables(metrics)]),
        Section("forecast", "Forecast in motion", film_of),
        Section("figures", "Figures", [Gallery(pictures)] if pictures else []),
        Section("reproduce", "How to reproduce", _reproduction(folder, case, settings, metrics)),
    ]
    return Page(
        title=capitalised(case.summary),
        kind=f"Run of {case.name}",
        summary=_summary(case, metrics),
        tiles=_tiles(metrics),
        sections=[section for section in sections if section.blocks],
        footer=footer(),
    )


def _read_metrics(folder: Path, case: Case) -> dict[str, Any]:
    path = folder / METRICS
    if not path.is_file():
        raise InputError(
            f"{folder}: has no {METRICS}, so this run has not ended; continue it with "
            f"'impindiff run {case.name} --out {folder} --resume'"
        )
    try:
        metrics = json.loads(path.read_text())
        # every other part may be missing, and is then not on the page
        metrics["forecast"]["relative_l1_percent"]["train"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not the metrics of a run ({type(error).__name__}: {error}); "
            f"run the case again"
        ) from None
    return metrics


def _summary(case: Case, metrics: Mapping[str, Any]) -> str:
    text = f"This run infers {case.infers}"
    errors = metrics["forecast"]["relative_l1_percent"]
    which = "held_out" if "held_out" in errors else "train"
    if errors[which] is not None:
        text += (
            f"; its forecast of the {humanised(which).replace(' ', '-')} samples is off by "
            f"{percent(errors[which])} {last_time(metrics['forecast'])} (relative L1 norm)"
        )
    if "train" in metrics:
        train = metrics["train"]
        steps = f"{train['steps']} training step{'s' * (train['steps'] != 1)}"
        text += f", after {steps} in {duration(train['seconds'])}"
    return f"{text}."


def _tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    errors = metrics["forecast"]["relative_l1_percent"]
    tiles = [
        (f"forecast error, {humanised(name)}", percent(value)) for name, value in errors.items()
    ]
    for norm in ("l1", "l2"):
        found = metrics.get("latent", {}).get(f"relative_{norm}_percent", {})
        tiles += [(f"error of {humanised(name)}", percent(value)) for name, value in found.items()]
    if "train" in metrics:
        tiles.append(("training time", duration(metrics["train"]["seconds"])))
    if "memory" in metrics:
        tiles.append(("peak memory", memory(metrics["memory"]["peak_rss_mb"])))
    return tiles


def _film(path: Path, case: Case, settings: Any) -> list[Block]:
    try:
        forecast = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as NetCDF ({error}); remove it for a page without animation"
        ) from None
    picture = film(forecast, max(case.observed_times(settings), default=None))
    return [] if picture is None else [Film(picture)]


def _reproduction(
    folder: Path, case: Case, settings: Any, metrics: Mapping[str, Any]
) -> list[Block]:
    configuration = (folder / run_directory.CONFIGURATION).read_text()
    blocks: list[Block] = [
        Prose("Save the configuration below as config.yaml, with the versions below, and run:"),
        Code(f"impindiff run {case.name} --config config.yaml", "command"),
    ]
    if settings.data.path is not None:
        blocks.append(Prose(f"The data are measurements, read from {settings.data.path}."))
    blocks.append(Folded("Configuration", [Code(configuration.rstrip(), "config.yaml")]))
    return [*blocks, facts_tables(metrics.get("versions"), metrics.get("machine"))]
