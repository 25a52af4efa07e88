"""Write a dataset atomically, in the format of the suffix."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from impindiff.data._forms import DEVIATION, QUANTITY, SAMPLE, TIME, VALUE, is_points, space_of
from impindiff.data._whole_file import require_writable, write_netcdf, written_whole
from impindiff.errors import InputError

_SUFFIXES = (".nc", ".zarr", ".csv")
_UNITS_OF = "units_"


def write(dataset: xr.Dataset, path: str | Path) -> None:
    """Write fields or points as `.nc` (NetCDF-4) or `.zarr`, points also as `.csv`.

    `read` returns an equal dataset. The file appears under its name only when complete.

    **Raises:** `InputError` for another suffix, fields as CSV, and a path that cannot be written.
    """
    path = Path(path)
    require_format(path)
    suffix = path.suffix.lower()
    if suffix == ".csv" and not is_points(dataset):
        raise InputError(f"{path}: only scattered points are written as .csv; take .nc or .zarr")
    if suffix == ".nc":
        write_netcdf(dataset, path)
        return
    with written_whole(path) as partial:
        if suffix == ".zarr":
            _write_zarr(dataset, partial)
        else:
            _write_csv(dataset, partial)


def _write_zarr(dataset: xr.Dataset, folder: Path) -> None:
    # by way of memory: Zarr's writers continue after one has failed on a full disk
    from zarr.storage import MemoryStore

    stored: dict[str, Any] = {}
    # version 2: the current one has no specification of text
    dataset.to_zarr(MemoryStore(stored), zarr_format=2, consolidated=False)
    for key, content in stored.items():
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


def require_format(path: Path, *, points: bool = True) -> None:
    """Refuse a path that `write` cannot write to, before work is spent on it.

    - `points`: False for fields, which are not written as CSV.

    **Raises:** `InputError` for an unknown suffix, fields as CSV, and a folder that is missing or
    read-only.
    """
    if path.suffix.lower() == ".csv" and not points:
        raise InputError(f"{path}: fields are not written as .csv; take .nc or .zarr")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"{path}: the suffix '{path.suffix}' is not known; data are written as .nc, .zarr or, "
            f"points only, .csv"
        )
    require_writable(path)


def _write_csv(points: xr.Dataset, path: Path) -> None:
    needed = [TIME, *space_of(points), QUANTITY, VALUE]
    for name in needed:
        if name not in points:
            raise InputError(f"points have no variable '{name}'; expected {', '.join(needed)}")
    names = [name for name in (*needed, DEVIATION, SAMPLE) if name in points]
    units = {name: points[name].attrs.get("units") for name in names}
    columns = [points[name].to_numpy() for name in names]
    with path.open("w", encoding="utf-8", newline="") as file:
        for key, unit in points[VALUE].attrs.items():
            if key.startswith(_UNITS_OF):
                file.write(f"# units of {key.removeprefix(_UNITS_OF)}: {unit}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f"{n} [{units[n]}]" if units[n] else n for n in names])
        for row in zip(*columns, strict=True):
            writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    return str(value)
