"""The page of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from impindiff import run_directory
from impindiff.errors import InputError
from impindiff.pages.blocks import Block, Code, Film, Folded, Gallery, Page, Prose, Section
from impindiff.pages.numbers import duration, memory, percent
from impindiff.pages.pictures import figures_in, film
from impindiff.pages.provenance import facts_tables, footer
from impindiff.pages.run_tables import last_time, run_tables
from impindiff.pages.words import capitalised, humanised

_FORECAST = "forecast.nc"


def run_page(folder: Path) -> Page:
    """What a finished run found, how well it forecasts, and how to repeat it.

    The animation is left out where forecast.nc is no longer there, and figures likewise.

    **Raises:** `InputError` for a folder that is not a run, or one that has not ended.
    """
    what = _of_problem(folder) if run_directory.is_of_problem(folder) else _of_case(folder)
    metrics = _read_metrics(folder, what)
    if isinstance(metrics.get("summary"), str):  # a problem's own
        what = what._replace(title=metrics["summary"])
    forecast = folder / _FORECAST
    film_of = _film(forecast, what.horizon) if forecast.is_file() else []
    pictures = figures_in(folder / "figures")
    sections = [
        Section("results", "Results", [run_tables(metrics)]),
        Section("forecast", "Forecast in motion", film_of),
        Section("figures", "Figures", [Gallery(pictures)] if pictures else []),
        Section("reproduce", "How to reproduce", _reproduction(folder, what, metrics)),
    ]
    return Page(
        title=capitalised(what.title),
        kind=f"Run of {what.name}",
        summary=_summary(what, metrics),
        tiles=_tiles(metrics),
        sections=[section for section in sections if section.blocks],
        footer=footer(),
    )


class _What(NamedTuple):
    """What was run: a case, or a problem of one's own.

    - `command`: the name that `impindiff run` takes.
    - `infers`: what is found, in words; None if nobody has said it.
    - `horizon`: the last time that training saw, if it is one.
    - `source`: the file of a problem, as it was run.
    """

    name: str
    title: str
    command: str
    infers: str | None
    horizon: float | None
    data: Path | None
    source: Path | None = None
    is_case: bool = True


def _of_case(folder: Path) -> _What:
    case, settings = run_directory.read_configuration(folder)
    horizon = max(case.observed_times(settings), default=None)
    return _What(case.name, case.summary, case.name, case.infers, horizon, settings.data.path)


def _of_problem(folder: Path) -> _What:
    """From what is stored: the problem's own code is not run."""
    given = run_directory.outline(folder)
    name = Path(str(given["problem"])).stem
    until = _under(given, "observations", "until")
    data = _under(given, "data", "path")
    source = folder / run_directory.PROBLEM
    return _What(
        name,
        name,
        f"{name}.py",
        None,
        until if isinstance(until, float | int) else None,
        None if data is None else Path(str(data)),
        source if source.is_file() else None,
        is_case=False,
    )


def _under(given: Mapping[str, Any], first: str, second: str) -> Any:
    within = given.get(first)
    return within.get(second) if isinstance(within, Mapping) else None


def _read_metrics(folder: Path, what: _What) -> dict[str, Any]:
    path = folder / run_directory.METRICS
    if not path.is_file():
        why = run_directory.not_ended(folder, what.command)
        raise InputError(f"{folder}: has no {run_directory.METRICS}, so {why}")
    try:
        metrics = run_directory.read_json(path)
        # every other part may be missing, and is then not on the page
        if what.is_case:
            metrics["forecast"]["relative_l1_percent"]["train"]
        else:
            metrics["misfit"]["train"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not the metrics of a run ({type(error).__name__}: {error}); "
            f"run the case again"
        ) from None
    return metrics


def _summary(what: _What, metrics: Mapping[str, Any]) -> str:
    text = "This run trains a problem of one's own"
    if what.infers is not None:
        text = f"This run infers {what.infers}"
    errors = metrics.get("forecast", {}).get("relative_l1_percent", {})
    which = "held_out" if "held_out" in errors else "train"
    if errors.get(which) is not None:
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
    errors = metrics.get("forecast", {}).get("relative_l1_percent", {})
    tiles = [
        (f"forecast error, {humanised(name)}", percent(value)) for name, value in errors.items()
    ]
    tiles += [
        (f"misfit of {name}, {humanised(which)}", percent(found["relative_percent"]))
        for which, quantities in metrics.get("misfit", {}).items()
        for name, found in quantities.items()
    ]
    for norm in ("l1", "l2"):
        found = metrics.get("latent", {}).get(f"relative_{norm}_percent", {})
        tiles += [(f"error of {humanised(name)}", percent(value)) for name, value in found.items()]
    if "train" in metrics:
        tiles.append(("training time", duration(metrics["train"]["seconds"])))
    if "memory" in metrics:
        tiles.append(("peak memory", memory(metrics["memory"]["peak_rss_mb"])))
    return tiles


def _film(path: Path, horizon: float | None) -> list[Block]:
    try:
        forecast = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as NetCDF ({error}); remove it for a page without animation"
        ) from None
    return [Film(film(forecast, horizon))]


def _reproduction(folder: Path, what: _What, metrics: Mapping[str, Any]) -> list[Block]:
    configuration = (folder / run_directory.CONFIGURATION).read_text()
    blocks: list[Block] = [
        Prose("Save the configuration below as config.yaml, with the versions below, and run:"),
        Code(f"impindiff run {what.command} --config config.yaml", "command"),
    ]
    if what.data is not None:
        blocks.append(Prose(f"The data are measurements, read from {what.data}."))
    if what.source is not None:
        text = what.source.read_text().rstrip()
        blocks.append(Folded(f"Problem, {what.command}", [Code(text, what.command)]))
    blocks.append(Folded("Configuration", [Code(configuration.rstrip(), "config.yaml")]))
    return [*blocks, facts_tables(metrics.get("versions"), metrics.get("machine"))]
