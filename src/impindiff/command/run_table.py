"""The table that ends a run on the terminal."""

from rich.table import Table

from impindiff.pages.numbers import in_ascii, with_error
from impindiff.results import RunMetrics


def run_table(metrics: RunMetrics) -> Table:
    """Errors, estimates and costs of a run, one a row; ASCII, for any terminal."""
    table = Table(box=None, pad_edge=False, show_header=False)
    forecast, latent = metrics.forecast, metrics.latent
    if forecast is not None:
        for name, percent in forecast.relative_l1_percent.items():
            label = f"forecast error at t = {forecast.last_time:g}, {name.replace('_', ' ')}"
            table.add_row(label, _shown(percent, ".3f", " %"))
        for name, percent in forecast.relative_l2_percent.items():
            label = f"forecast error of {name}, all times, test set (L2)"
            table.add_row(label, _shown(percent, ".3f", " %"))
        for name, value in forecast.others.items():
            table.add_row(f"{name.replace('_', ' ')}, test set", _shown(value, ".4g"))
    if latent is not None:
        errors = {"": latent.relative_l1_percent, " (L2)": latent.relative_l2_percent}
        for norm, percents in errors.items():
            for name, percent in percents.items():
                label = f"error of {name.replace('_', ' ')}{norm}"
                table.add_row(label, _shown(percent, ".2f", " %"))
    for which, quantities in metrics.misfit.items():
        for name, found in quantities.items():
            label = f"misfit of {name}, {which.replace('_', ' ')}, {found.values} values"
            misfit = _shown(found.relative_percent, ".2f", " %")
            # without stated errors there are no standard deviations, though the misfit is known
            if found.in_standard_deviations is not None or found.rms is None:
                misfit += f", {_shown(found.in_standard_deviations, '.2f')} standard deviations"
            table.add_row(label, misfit)
    for name, found in metrics.identified.items():
        known = "" if found.truth is None else f"  (true value {found.truth:.6g})"
        value = _shown(found.value, ".6g")
        if found.value is not None and found.standard_error is not None:
            value = in_ascii(with_error(found.value, found.standard_error))
        table.add_row(name, f"{value}{known}")
    if metrics.model_check is not None:
        table.add_row("check of the model", metrics.model_check.verdict)
    stopped = {True: ", converged", False: ", not converged", None: ""}[metrics.train.converged]
    table.add_row("training", f"{metrics.train.steps} steps{stopped}")
    table.add_row("in all", _shown(metrics.seconds_total, ".0f", " s"))
    table.add_row("peak memory", _shown(metrics.memory.peak_rss_mb, ".0f", " MB"))
    return table


def _shown(value: float | None, digits: str, unit: str = "") -> str:
    return "not finite" if value is None else f"{value:{digits}}{unit}"
