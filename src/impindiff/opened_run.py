"""A run's folder, opened in Python or a notebook."""

import base64
import html
from pathlib import Path
from typing import Any

import xarray as xr

from impindiff.errors import InputError
from impindiff.html_tables import html_table
from impindiff.observations import reading
from impindiff.run_directory import METRICS, pictures, read_json
from impindiff.training.history import read


class Run:
    """What `impindiff run` left in a folder; in a notebook, its numbers and figures.

    - `path`: the folder.
    - `metrics`: of `metrics.json`, nested as there.
    - `history`: a dictionary for each logged step of training.
    - `figures`: the pictures' paths, by name.
    """

    def __init__(self, path: Path):
        self.path = path
        self.metrics: dict[str, Any] = _metrics(path / METRICS)
        self.history: list[dict[str, Any]] = read(path / "history.jsonl")
        self.figures = {p.stem: p for p in pictures(path / "figures")}

    def forecast(self) -> xr.Dataset:
        """The forecast, read into memory. Raises `InputError` for a file that cannot be read."""
        path = self.path / "forecast.nc"
        try:
            with reading("NetCDF"), xr.open_dataset(path, engine="h5netcdf") as dataset:
                return dataset.load()
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def _repr_html_(self) -> str:
        table = html_table(str(self.path), _flat(self.metrics))
        pictures = "".join(
            f'<figure><img alt="{html.escape(name)}" style="max-width:48em" '
            f'src="data:image/png;base64,{base64.b64encode(p.read_bytes()).decode()}">'
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, p in self.figures.items()
        )
        return table + pictures

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {', '.join(self.figures)}"


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises `InputError` for one that holds no finished run, or holds other content.
    """
    path = Path(path)
    if not (path / METRICS).is_file():
        raise InputError(
            f"{path}: holds no finished run ({METRICS} is missing); expected a folder that "
            "`impindiff run` wrote, such as runs/plume"
        )
    return Run(path)


def _metrics(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: is not the metrics of a run; run the case again")
    return found


def _flat(metrics: Any, prefix: str = "") -> list[tuple[str, object]]:
    rows = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            rows.append((prefix + name, f"{value:.6g}"))
        elif not isinstance(value, list):
            rows.append((prefix + name, value))
    return rows
