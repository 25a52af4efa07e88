"""The page of a comparison of methods."""

from functools import partial
from pathlib import Path

from impindiff.pages._blocks import (
    Block,
    Code,
    Entries,
    Entry,
    Folded,
    Gallery,
    Page,
    Picture,
    Prose,
    Section,
)
from impindiff.pages._comparison_summary import best_method, summary
from impindiff.pages._comparison_tables import cost_table, error_table, run_table
from impindiff.pages._pictures import drawn, figures_in
from impindiff.pages._provenance import facts_tables, footer
from impindiff.pages._words import capitalised, humanised
from impindiff.pages.numbers import duration, percent
from impindiff.problems import PROBLEMS
from impindiff.report import plot_training_curves
from impindiff.results import RESULTS, ComparisonResults, MethodResults
from impindiff.settings.configuration import dotted
from impindiff.settings.yaml_text import one_line
from impindiff.training.history import read as read_history

_CURVES = {
    "loss": ("training loss", "Training loss against training time, a thin line for each seed."),
    "test_percent": (
        "relative error of the test set (%)",
        "Error of the test set against training time, a thin line for each seed.",
    ),
}


def comparison_page(folder: Path) -> Page:
    """Build the page: ranking of forecasts, cost and tuning of each method.

    Figures in `folder`/figures are included; training curves are drawn from the histories in the
    runs' folders.

    **Raises:** `InputError` for results that cannot be read.
    """
    results = ComparisonResults.read(folder / RESULTS)
    curves = _training_curves(results, folder)
    pictures = figures_in(folder / "figures", {})
    sections = [
        Section(
            "errors", "Errors of the forecast", [error_table(results)] if results.has_errors else []
        ),
        Section("figures", "Figures", [Gallery(pictures)] if pictures else []),
        Section("cost", "Cost", [cost_table(results)]),
        Section("training", "Training", [Gallery(curves)] if curves else []),
        Section("methods", "Methods and their tuning", [Entries([*map(_entry, results.methods)])]),
        Section("reproduce", "How to reproduce", _reproduction(results)),
    ]
    problem = PROBLEMS.get(results.problem)
    subject = humanised(results.problem) if problem is None else problem.summary
    return Page(
        title=capitalised(subject),
        kind=f"Comparison of {len(results.methods)} methods on {results.problem}",
        summary=summary(results),
        tiles=_tiles(results),
        sections=[section for section in sections if section.blocks],
        footer=footer(),
    )


def _tiles(results: ComparisonResults) -> list[tuple[str, str]]:
    tiles = []
    best = best_method(results)
    if best is not None:
        label = f"least mean {results.metric_name} at t = {results.times.horizon:g}: {best.title}"
        tiles.append((label, percent(best.error("horizon"))))
    ran = [method for method in results.methods if method.not_run is None]
    tiles.append(("methods run", f"{len(ran)} of {len(results.methods)}"))
    tiles.append(("seeds a method", str(len(results.seeds))))
    if results.budget_seconds is not None:
        tiles.append(("training time allowed a run", duration(results.budget_seconds)))
    return tiles


def _training_curves(results: ComparisonResults, folder: Path) -> list[Picture]:
    histories = {
        method.title: [read_history(folder / run.folder / "history.jsonl") for run in method.runs]
        for method in results.methods
        if method.not_run is None
    }
    return [
        drawn(partial(plot_training_curves, histories, key=key, value_label=label), text)
        for key, (label, text) in _CURVES.items()
        if any(record.get(key) is not None for of in histories.values() for r in of for record in r)
    ]


def _entry(method: MethodResults) -> Entry:
    paragraphs = [
        method.description,
        f"Tuning: {method.tuning}" if method.tuning else "",
        f"Not run: {method.not_run}" if method.not_run is not None else "",
    ]
    return Entry(
        method.title,
        method.kind,
        [text for text in paragraphs if text],
        [f"--set {key}={one_line(value)}" for key, value in dotted(method.overrides)],
    )


def _reproduction(results: ComparisonResults) -> list[Block]:
    return [
        Prose("With the versions below:"),
        Code(results.command, "command"),
        Folded("Every run", [run_table(results)]),
        facts_tables(results.versions, results.machine),
    ]
