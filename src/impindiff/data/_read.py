"""Read a file of any known format into one of the two forms."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from impindiff.data._fields import loaded, named_fields, selected
from impindiff.data._forms import Names, is_points
from impindiff.data._opening import opened
from impindiff.data._points import chosen_quantities, in_units, of_quantities
from impindiff.errors import InputError


def read(
    path: str | Path,
    variables: Names = None,
    *,
    samples: Sequence[int] | None = None,
    times: tuple[float, float] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read fields or points, whichever the file holds (see `is_points`).

    `samples` and `times` apply to fields only; see `read_fields` and `read_points`.

    **Raises:** `InputError`, one line that names the file.
    """
    with opened(path, variables) as source:
        if not is_points(source.dataset):
            return _fields(Path(path), source.dataset, variables, samples, times, units)
        if (samples, times) != (None, None):
            raise InputError(
                "holds scattered points, of which variables and units alone can be chosen; leave "
                "out samples and times, and choose afterwards"
            )
        return _points(source.dataset, variables, units)


def read_fields(
    path: str | Path,
    variables: Names = None,
    *,
    samples: Sequence[int] | None = None,
    times: tuple[float, float] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read fields on a grid into memory; only the selected part of the file is read.

    Suffix and content determine the format: NetCDF (4 and 3), Zarr, HDF5 in the layouts of PDEBench
    and of The Well or with plain arrays, MATLAB (any version) and .npz. Dates become seconds since
    the first time. The file is closed afterwards.

    **Arguments:**

    - `path`: the file, or the folder of a Zarr store.
    - `variables`: names to read, or {name in the file: name wanted}; by default all that fit. A
      wanted name of `time`, `x`, `y`, `z` or `sample` assigns that coordinate, as in {"tt":
      "time"}.
    - `samples`: indices to read, in the order wanted.
    - `times`: first and last time, both included, in the unit of the result.
    - `units`: {variable or coordinate: unit wanted}; values in another unit of the same kind are
      converted, values without a unit are assumed to be in it.

    **Returns:** dimensions `sample` (if the file has it), `time` and `x` (`y`, `z`) with
    coordinates; float64, NaN where nothing was measured.

    **Raises:** `InputError`, one line that names the file, if it is missing, broken or of another
    layout, if times do not increase, and if the selection does not fit into memory.
    """
    with opened(path, variables) as source:
        if is_points(source.dataset):
            raise InputError(
                "holds scattered points, not fields on a grid; read it with read_points"
            )
        return _fields(Path(path), source.dataset, variables, samples, times, units)


def read_points(
    path: str | Path, variables: Names = None, *, units: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Read scattered observations from a table or from a NetCDF or Zarr file.

    A table (.csv; commas, semicolons or tabs) has a header with `time`, `x` (`y`, `z`), perhaps
    `sample`, and either `quantity` and `value`, or a column per quantity. The errors stand in
    `standard_deviation`, or in `NAME_standard_deviation` of each of several quantities. Units stand
    in the header, `time [s]`. Rows without a value are dropped; the attribute `dropped_rows` counts
    them. Capital X, Y, Z and T are quantities if there are axes in lower case.

    **Arguments:**

    - `variables`: as in `read_fields`; {name in the file: name wanted} also assigns the columns
      `value`, `quantity` and `standard_deviation`.
    - `units`: {quantity, time or axis: unit wanted}; values in another unit of the same kind are
      converted, values without a unit are assumed to be in it.

    **Returns:** dimension `observation`; variables `time`, `x` (`y`, `z`), `value`, `quantity`,
    `standard_deviation` (NaN where not given) and `sample` (0 where not given).

    **Raises:** `InputError`, one line that names the file and, for a table, line and column.
    """
    with opened(path, variables) as source:
        if not is_points(source.dataset):
            raise InputError(
                "holds fields on a grid, not scattered points; read it with read_fields"
            )
        return _points(source.dataset, variables, units)


def _points(points: xr.Dataset, variables: Names, units: Mapping[str, str] | None) -> xr.Dataset:
    return in_units(chosen_quantities(points.load(), of_quantities(variables)), units or {})


def _fields(
    path: Path,
    raw: xr.Dataset,
    variables: Names,
    samples: Sequence[int] | None,
    times: tuple[float, float] | None,
    units: Mapping[str, str] | None,
) -> xr.Dataset:
    fields = named_fields(raw, variables, units).dataset
    for name in units or {}:
        if name not in fields.variables:
            raise InputError(f"units: there is no '{name}' among {list(fields.variables)}")
    return loaded(selected(fields, samples, times), units, path)
