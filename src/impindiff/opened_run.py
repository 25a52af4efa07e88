"""A run's folder, read back: by the command, and in Python or a notebook."""

import base64
import hashlib
import html
import io
from functools import cached_property
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import xarray as xr
from pydantic import ConfigDict

from impindiff.cases import Case, get_case, load_configuration
from impindiff.cases.configuration import StrictModel, dotted, load_settings, nested_overrides
from impindiff.ensembles import as_configured
from impindiff.errors import InputError
from impindiff.html_tables import html_table
from impindiff.observations import reading
from impindiff.problem import Problem, checked, load_problem
from impindiff.results import METRICS, RunMetrics
from impindiff.run_directory import (
    CONFIGURATION,
    DATA,
    END,
    MODEL,
    MODULES,
    PROBLEM,
    pictures,
    set_precision,
)
from impindiff.training import holder
from impindiff.training.history import read as read_history


class _Named(StrictModel):
    model_config = ConfigDict(extra="ignore")

    case: str | None = None
    problem: Path | None = None


class Run:
    """The run in a folder, each part read when it is first asked for.

    In a notebook it shows its numbers and figures. Every part raises `InputError` for a folder that
    is not a run, or a file that is damaged.

    - `path`: the folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def metrics(self) -> RunMetrics:
        """Errors, costs and numbers found. Raises `InputError` for a run that has not ended."""
        path = self.path / METRICS
        if not path.is_file():
            raise InputError(f"{self.path}: has no {METRICS}, so {self._not_ended()}")
        return RunMetrics.read(path)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A dictionary for each logged step of training."""
        return read_history(self.path / "history.jsonl")

    @cached_property
    def figures(self) -> dict[str, Path]:
        """The pictures, by name."""
        return {path.stem: path for path in pictures(self.path / "figures")}

    def forecast(self) -> xr.Dataset:
        """The forecast, read into memory."""
        path = self.path / "forecast.nc"
        try:
            with reading("NetCDF"), xr.open_dataset(path, engine="h5netcdf") as dataset:
                return dataset.load()
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The configuration as it is written, checked by no model."""
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
    def _named(self) -> _Named:
        found = load_settings(_Named, self.configuration)
        if (found.case is None) == (found.problem is None):
            raise InputError(
                f"{self.path / CONFIGURATION}: is damaged, for it names "
                f"{'neither case nor problem' if found.case is None else 'both case and problem'}; "
                "take it from a backup, or start the run again in another folder"
            )
        return found

    @property
    def is_of_problem(self) -> bool:
        """Whether it is a user-defined problem's, not a built-in case's."""
        return self._named.problem is not None

    @property
    def command(self) -> str:
        """What was run, as `impindiff run` takes it."""
        problem = self._named.problem
        return str(self._named.case) if problem is None else problem.name

    @cached_property
    def case(self) -> Case:
        """The built-in case."""
        if self.is_of_problem:
            raise InputError(
                f"{self.path}: is the run of a problem of one's own, not of a case; this works "
                "for cases"
            )
        return get_case(self.command)

    @cached_property
    def problem(self) -> Problem:
        """The user-defined problem, from the copy of its file that the run holds, which is run."""
        original = self._named.problem
        if original is None:
            raise InputError(f"{self.path}: is not the run of a problem of one's own")
        copy = self.path / PROBLEM
        if not copy.is_file() or copy.resolve().parent != self.path.resolve():
            raise InputError(
                f"{copy}: is not there, and nothing outside of the run's folder is run in its "
                f"place; put the file that the run was made with there, it was {original}"
            )
        problem = load_problem(copy, self.path / MODULES)
        problem.name = original.stem
        return checked(problem)

    @cached_property
    def settings(self) -> Any:
        """The settings; of a user-defined problem, its file is run."""
        owner = self.problem if self.is_of_problem else self.case
        return load_configuration(owner.settings, [self.path / CONFIGURATION], [])

    @cached_property
    def model(self) -> Any:
        """The trained model; JAX is given the run's precision.

        Raises `InputError` for a run that was not trained to the end, or of another model.
        """
        set_precision(self.settings)
        owner = self.problem if self.is_of_problem else as_configured(self.case, self.settings)
        like = owner.model(self.settings, jax.random.key(0))
        path = self.path / MODEL
        if not path.is_file():
            raise InputError(f"{self.path}: has no {MODEL}, so {self._not_ended()}")
        try:
            file = path.read_bytes()
            length = hashlib.sha256().digest_size
            content, digest = file[:-length], file[-length:]
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("it is damaged")
            return eqx.tree_deserialise_leaves(io.BytesIO(content), like)
        except Exception as error:  # as NumPy and Equinox raise them
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: cannot be read as the model of this run ({reason}); make it again with "
                f"'{self._resume()}'"
            ) from None

    @cached_property
    def data(self) -> Any:
        """What was measured: `Trajectories` of a case, `Measured` of a user-defined problem."""
        if self.is_of_problem:
            return self.problem.measured(self.settings, self.model)
        case, settings = as_configured(self.case, self.settings), self.settings
        set_precision(settings)
        if settings.data.path is None:
            return case.read_back(self.path / DATA)
        return case.read(settings, settings.data.path)[0]

    def _not_ended(self) -> str:
        """Why there is no result, and what to do, after "so"."""
        who = holder(self.path)
        if who is not None:
            return f"its training has not ended; {who} is at it"
        return f"its training has not ended; continue it with '{self._resume()}'"

    def _resume(self) -> str:
        what = self._named.problem or self.command
        return f"impindiff run {what} --out {self.path} --resume"

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
    """The finished run in a folder.

    Raises `InputError` for one that holds no finished run, or holds other content.
    """
    run = Run(Path(path))
    _ = run.command, run.metrics, run.history
    return run
