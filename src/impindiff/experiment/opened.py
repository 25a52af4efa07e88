"""A run's folder, read back by the command, in Python or in a notebook."""

import base64
import html
from functools import cached_property
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import xarray as xr

from impindiff.data import read
from impindiff.data.file_errors import of_file, reading
from impindiff.errors import InputError
from impindiff.experiment._posterior import read_posterior
from impindiff.experiment.directory import (
    CONFIGURATION,
    DATA,
    END,
    MODEL,
    MODULES,
    POSTERIOR,
    PROBLEM,
    pictures,
    read_with_digest,
    set_precision,
)
from impindiff.experiment.experiment import Experiment
from impindiff.inference import Posterior
from impindiff.problem import Data, Problem, as_data, checked, load_problem
from impindiff.problems import get_problem
from impindiff.results import METRICS, RunMetrics
from impindiff.settings import load_configuration, nested_overrides
from impindiff.settings.configuration import dotted
from impindiff.support.html_tables import html_table
from impindiff.training import holder
from impindiff.training.history import read as read_history


class Run:
    """The run in a folder, each part read on first access.

    A notebook displays its numbers and figures. Every part raises `InputError` for a folder that is
    not a run, or a damaged file.

    - `path`: the folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def metrics(self) -> RunMetrics:
        """Errors, costs and estimates. Raises `InputError` for a run that has not ended."""
        path = self.path / METRICS
        if not path.is_file():
            raise InputError(f"{self.path}: has no {METRICS}, so {self._not_ended()}")
        return RunMetrics.read(path)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """One dictionary per logged training step."""
        return read_history(self.path / "history.jsonl")

    @cached_property
    def figures(self) -> dict[str, Path]:
        """The pictures, by name."""
        return {path.stem: path for path in pictures(self.path / "figures")}

    def forecast(self) -> xr.Dataset:
        """The forecast, read into memory."""
        path = self.path / "forecast.nc"
        with (
            of_file(path),
            reading("NetCDF"),
            xr.open_dataset(path, engine="h5netcdf") as dataset,
        ):
            return dataset.load()

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The configuration as written, without validation."""
        path = self.path / CONFIGURATION
        if not path.is_file():
            raise InputError(
                f"{self.path}: is not the folder of a run (no {CONFIGURATION} in it); expected a "
                "folder that `impindiff run` wrote, such as runs/plume"
            )
        try:
            is_whole = path.read_bytes().rstrip().endswith(f"\n{END}".encode())
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if not is_whole:
            raise InputError(
                f"{path}: is damaged, or written by an earlier version, for its last line is not "
                f"'{END}'; take it from a backup, or start the run again in another folder"
            )
        return nested_overrides([path], [])

    @cached_property
    def command(self) -> str:
        """The problem in the form `impindiff run` takes: a built-in name, or a file name."""
        return Path(self._named).name

    @cached_property
    def _named(self) -> str:
        named = self.configuration.get("problem")
        if not isinstance(named, str) or not named:
            raise InputError(
                f"{self.path / CONFIGURATION}: is damaged, for it names no problem; take it from a "
                "backup, or start the run again in another folder"
            )
        return named

    @cached_property
    def problem(self) -> Problem:
        """The problem: a built-in one, or loaded from the copy of its file in the run's folder.

        Only that copy is executed.
        """
        if not self._named.endswith(".py"):
            return checked(get_problem(self._named))
        copy = self.path / PROBLEM
        if not copy.is_file() or copy.resolve().parent != self.path.resolve():
            raise InputError(
                f"{copy}: is not there, and nothing outside of the run's folder is run in its "
                f"place; put the file that the run was made with there, it was {self._named}"
            )
        problem = load_problem(copy, self.path / MODULES)
        problem.name = Path(self._named).stem
        return checked(problem)

    @cached_property
    def settings(self) -> Any:
        """The settings; for a user-defined problem, its file is executed."""
        return load_configuration(self.problem.settings, [self.path / CONFIGURATION], [])

    @cached_property
    def experiment(self) -> Experiment:
        """The problem with its settings, data and method; sets JAX to the run's precision."""
        set_precision(self.settings)
        return Experiment(self.problem, self.settings, self.data)

    @cached_property
    def model(self) -> Any:
        """The trained model; sets JAX to the run's precision.

        **Raises:** `InputError` for a run whose training did not finish, or of another model.
        """
        path = self.path / MODEL
        like = self.experiment.model(jax.random.key(0))
        if not path.is_file():
            raise InputError(f"{self.path}: has no {MODEL}, so {self._not_ended()}")
        try:
            return eqx.tree_deserialise_leaves(read_with_digest(path), like)
        except Exception as error:  # NumPy and Equinox raise various types
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: cannot be read as the model of this run ({reason}); make it again with "
                f"'{self._resume()}'"
            ) from None

    @property
    def has_posterior(self) -> bool:
        """True if the run has stored a posterior, as one with bands does."""
        return (self.path / POSTERIOR).is_file()

    @cached_property
    def posterior(self) -> Posterior[Any]:
        """The posterior of the model's parameters, for bands of any quantity and for draws.

        Beyond 200 parameters it has 40 random directions: deviations are right to 11 %.

        **Raises:** `InputError` for a run without one.
        """
        if not self.has_posterior:
            raise InputError(
                f"{self.path}: has no {POSTERIOR}: `forecast.bands` was false, or the run has more "
                "than 200 parameters without a prior chosen by the data, an ensemble, or "
                "parameters that the data leave undetermined"
            )
        return read_posterior(self.path / POSTERIOR, self.model, self.settings.training.freeze)

    @cached_property
    def data(self) -> Data:
        """The data: from the file in the configuration, or stored in the run."""
        settings = self.settings
        set_precision(settings)
        stored = self.path / DATA
        own = settings.data.path is None and stored.is_file()
        dataset = read(stored) if own else self.problem.data(settings)
        return as_data(dataset, settings.data.test)

    def _not_ended(self) -> str:
        """The reason why there is no result, and the remedy, to follow "so"."""
        who = holder(self.path)
        if who is not None:
            return f"its training has not ended; {who} is at it"
        return f"its training has not ended; continue it with '{self._resume()}'"

    def _resume(self) -> str:
        return f"impindiff run {self._named} --out {self.path} --resume"

    def _repr_html_(self) -> str:
        rows = [
            (key, f"{value:.6g}" if isinstance(value, float) else value)
            for key, value in dotted(self.metrics.model_dump())
            if value is not None and not isinstance(value, list)
        ]
        pictures = "".join(
            f'<figure><img alt="{html.escape(name)}" style="max-width:48em" '
            f'src="data:image/png;base64,{base64.b64encode(p.read_bytes()).decode()}">'
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, p in self.figures.items()
        )
        return html_table(str(self.path), rows) + pictures

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {', '.join(self.figures)}"


def open_run(path: str | Path) -> Run:
    """Open the finished run in a folder.

    **Raises:** `InputError` for one without a finished run, or with other content.
    """
    run = Run(Path(path))
    _ = run.command, run.metrics, run.history
    return run
