"""One solution u(x, t) of one space dimension, read from MATLAB, NetCDF or CSV files."""

import csv
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.errors import InputError
from impindiff.observations.file_errors import listed, reading
from impindiff.observations.matlab import matlab_arrays
from impindiff.observations.packing import meant, real_part
from impindiff.observations.trajectories import Trajectories

_USUAL_FIELDS = ("usol", "u")
_SPACE, _TIMES = "x", ("t", "time")
_PARAMETERS = ("nu", "lambda")
_PARAMETER_LINE = re.compile(rf"#\s*({'|'.join(_PARAMETERS)})\s*=(.*)")


@dataclasses.dataclass(frozen=True)
class Solution1D:
    """A solution of one space dimension and what its file says about the equation.

    **Arguments:**

    - `trajectories`: one sample, field `(1, time, x)`, coordinates `{"x": ...}`.
    - `parameters`: the true coefficients `nu` and `lambda`, those that the file states; else empty.
    """

    trajectories: Trajectories
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)


def read_solution(path: Path, variable: str | None = None) -> Solution1D:
    """Read u(x, t) at evenly spaced x and increasing times; the suffix tells the format.

    - `.mat`, any version: arrays `x`, `t` (or `time`) and the field; scalars `nu`, `lambda`. The
      lengths of x and t tell which axis is which; if they are equal, the field is taken as (x, t).
    - `.nc`, NetCDF-4: dimensions `x` and `t` or `time` in any order, with coordinates, and at most
      one `sample`; global attributes `nu`, `lambda`.
    - `.csv`: a header `x,t,u` (or `time`, and any name for the field), then a row per value, in any
      order, for every pair of an x and a time; separated by commas or semicolons. Lines that start
      with `#` are comments, but `# nu = 0.003` and `# lambda = 1` are read.

    Values become float64. The file's x may be cell centres or nodes, the ends of the domain
    included; which, no file says, so `lower` and `upper` of the result are right for centres only.

    **Arguments:**

    - `path`: the file.
    - `variable`: the field's name in it; `None` takes `usol`, else `u`, else the only candidate.

    **Raises:** `InputError`, one line that names the file, for a file that is missing, broken, of
    another suffix or without these arrays, and for values that are not finite real numbers.
    """
    readers: dict[str, Callable[[Path, str | None], Solution1D]]
    readers = {".mat": _from_mat, ".nc": _from_netcdf, ".csv": _from_csv}
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if not path.is_file():
        raise InputError(f"{path}: is not a file; give the path of one {', '.join(readers)} file")
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path}: the suffix '{path.suffix}' is not known; a solution is read from "
            f"{', '.join(readers)}: convert the file, or rename it if it is one of these"
        )
    try:
        return readers[path.suffix.lower()](path, variable)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _from_mat(path: Path, variable: str | None) -> Solution1D:
    arrays = matlab_arrays(path)
    time = _name_of_time(arrays, "arrays")
    x, times = (_vector(name, arrays) for name in (_SPACE, time))
    taken = {_SPACE, time, *_PARAMETERS}
    # To MATLAB numbers and vectors are 2-D too; they are no candidates.
    candidates = [
        name for name, a in arrays.items() if name not in taken and a.ndim == 2 and min(a.shape) > 1
    ]
    name = _field_name(variable, list(arrays), candidates)
    field = _real(name, arrays[name])
    shape = len(x), len(times)
    if field.shape == shape:
        field = field.T
    elif field.shape != shape[::-1]:
        raise InputError(
            f"array '{name}' has shape {field.shape}; expected (x, {time}) = {shape} or "
            f"({time}, x) = {shape[::-1]}, the lengths of 'x' and '{time}'; cut it to fit, or name "
            f"the array that you mean"
        )
    return _solution(field, times, x, name, arrays)


def _from_netcdf(path: Path, variable: str | None) -> Solution1D:
    # Units such as "s" would otherwise turn times into dates or durations.
    with (
        reading("NetCDF-4"),
        xr.open_dataset(
            path, engine="h5netcdf", decode_times=False, mask_and_scale=False
        ) as opened,
    ):
        dataset = meant(opened).load()
    time = _name_of_time(dataset.sizes, "dimensions")
    for name in (_SPACE, time):
        if name not in dataset.sizes:
            raise InputError(f"has no dimension '{name}'; it has {listed(dataset.sizes)}")
        if name not in dataset.coords:
            raise InputError(f"dimension '{name}' has no coordinate; add a variable '{name}'")
    known = [str(name) for name in dataset.data_vars]
    both = {_SPACE, time}
    name = _field_name(variable, known, [n for n in known if both <= set(dataset[n].dims)])
    # Without other coordinates: one of them may be called as the times are to be.
    dataset = (
        dataset[[name]].reset_coords(drop=True).rename({} if time == "time" else {time: "time"})
    )
    if "sample" not in dataset[name].dims:
        dataset = dataset.expand_dims("sample")
    elif dataset.sizes["sample"] != 1:
        raise InputError(
            f"variable '{name}' has {dataset.sizes['sample']} samples; expected 1 solution: "
            f"choose one by isel(sample=[0]) of xarray"
        )
    trajectories = Trajectories.from_dataset(dataset, name, (_SPACE,), ())
    return Solution1D(trajectories, _parameters(dataset.attrs))


def _from_csv(path: Path, variable: str | None) -> Solution1D:
    with reading("text in UTF-8"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    stated = {}
    rows = []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            if found := _PARAMETER_LINE.fullmatch(line.strip()):
                stated[found[1]] = found[2].strip()
        elif line.strip():
            rows.append((number, line))
    if not rows:
        raise InputError("is empty; expected a header 'x,t,u' and a row for each value")
    header = rows[0][1]
    delimiter = ";" if ";" in header else ","
    columns = _cells(header, delimiter)
    if len(set(columns)) != len(columns):
        raise InputError(f"line {rows[0][0]}: a column is given twice in {listed(columns)}")
    time = _name_of_time(columns, "columns")
    for required in (_SPACE, time):
        if required not in columns:
            raise InputError(
                f"line {rows[0][0]}: has no column '{required}'; it has {listed(columns)}; "
                f"expected a header such as 'x,t,u'"
            )
    name = _field_name(variable, columns, [c for c in columns if c not in (_SPACE, time)])
    table = np.array([_row(n, line, delimiter, columns) for n, line in rows[1:]], dtype=float)
    where, when, values = table.reshape(-1, len(columns)).T[
        [columns.index(c) for c in (_SPACE, time, name)]
    ]
    x, column = np.unique(where, return_inverse=True)
    times, row = np.unique(when, return_inverse=True)
    places = row * len(x) + column
    order = np.argsort(places)
    _require_every_pair(places[order], x, times)
    return _solution(values[order].reshape(len(times), len(x)), times, x, name, stated)


def _row(number: int, line: str, delimiter: str, columns: Sequence[str]) -> list[float]:
    cells = _cells(line, delimiter)
    if len(cells) != len(columns):
        raise InputError(
            f"line {number}: has {len(cells)} value(s); expected {len(columns)}, one for each of "
            f"{listed(columns)}; the file may be cut short"
        )
    numbers = []
    for cell, column in zip(cells, columns, strict=True):
        try:
            numbers.append(float(cell))
        except ValueError:
            numbers.append(np.nan)
        if not np.isfinite(numbers[-1]):
            raise InputError(
                f"line {number}, column '{column}': '{cell}' is not a finite real number; write it "
                f"with a decimal point, such as 0.5 or 5e-1"
            )
    return numbers


def _cells(line: str, delimiter: str) -> list[str]:
    with reading("CSV"):
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _require_every_pair(
    places: np.ndarray, x: Float[np.ndarray, " x"], times: Float[np.ndarray, " time"]
) -> None:
    """Refuse pairs (x, t) given twice or missing; `places` are their sorted positions."""
    twice = np.flatnonzero(np.diff(places) == 0)
    if len(twice):
        time, column = divmod(int(places[twice[0]]), len(x))
        raise InputError(
            f"the value at x = {x[column]:.12g}, t = {times[time]:.12g} is given twice; keep one"
        )
    missing = len(x) * len(times) - len(places)
    if missing:
        holes = np.flatnonzero(places != np.arange(len(places)))
        first = int(holes[0]) if len(holes) else len(places)
        time, column = divmod(first, len(x))
        raise InputError(
            f"there is no value at x = {x[column]:.12g}, t = {times[time]:.12g} ({missing} such "
            f"pairs of the {len(x)} x and {len(times)} times); give one for every pair, with "
            f"each x and t written alike on all lines"
        )


def _solution(
    field: Float[np.ndarray, "time x"],
    times: Float[np.ndarray, " time"],
    x: Float[np.ndarray, " x"],
    name: str,
    stated: Mapping[str, Any],
) -> Solution1D:
    trajectories = Trajectories(
        field=np.ascontiguousarray(field)[None],
        times=times,
        coordinates={_SPACE: x},
        variable=name,
        # The layout's own words, "cell centre", would claim what the file does not say.
        variable_attrs={_SPACE: {"long_name": "x"}},
    )
    return Solution1D(trajectories, _parameters(stated))


def _parameters(stated: Mapping[Any, Any]) -> dict[str, float]:
    found = {}
    for name in _PARAMETERS:
        if name not in stated:
            continue
        value = np.asarray(stated[name])
        try:
            found[name] = float(value.item())
        except (TypeError, ValueError):
            found[name] = np.nan
        if not np.isfinite(found[name]):
            shown = f"'{value.item()}'" if value.size == 1 else f"an array of shape {value.shape}"
            raise InputError(
                f"parameter '{name}' is {shown}; expected one finite real number: correct it, or "
                f"rename it if it means something else"
            )
    return found


def _field_name(variable: str | None, known: Sequence[str], candidates: Sequence[str]) -> str:
    """The name asked for, else a usual one, else the only one that can be meant."""
    if variable is not None:
        if variable not in known:
            raise InputError(f"has no '{variable}'; it has {listed(known)}; name one of these")
        return variable
    for usual in _USUAL_FIELDS:
        if usual in candidates:
            return usual
    if len(candidates) != 1:
        raise InputError(
            f"the field is not clear: none is called {' or '.join(_USUAL_FIELDS)}, and those that "
            f"can be meant are {listed(candidates)} of {listed(known)}; name one as the variable"
        )
    return candidates[0]


def _name_of_time(known: Any, what: str) -> str:
    for name in _TIMES:
        if name in known:
            return name
    raise InputError(f"has neither 't' nor 'time' among its {what}; it has {listed(list(known))}")


def _vector(name: str, arrays: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
    if name not in arrays:
        raise InputError(f"has no array '{name}'; its arrays of numbers are {listed(list(arrays))}")
    values = _real(name, arrays[name])
    if values.size != max(values.shape, default=1):
        raise InputError(f"array '{name}' has shape {values.shape}; expected (n, 1) or (1, n)")
    return values.ravel()


def _real(name: str, values: np.ndarray) -> Float[np.ndarray, "..."]:
    if values.dtype.kind == "c":
        values = real_part(name, values)
    return np.asarray(values, dtype=np.float64)
