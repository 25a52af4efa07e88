"""Scattered observations from columns of a table or arrays of equal length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from impindiff.data._forms import (
    DEVIATION,
    OBSERVATION,
    POINT_COLUMNS,
    QUANTITY,
    SAMPLE,
    SPACE,
    TIME,
    VALUE,
    Names,
    assigned,
    chosen_names,
    space_of,
    usual_names,
)
from impindiff.data._hdf5 import text
from impindiff.data._table import Table
from impindiff.data.file_errors import listed
from impindiff.data.units import convert, elapsed
from impindiff.errors import InputError

DROPPED = "dropped_rows"
_OF_QUANTITY = f"_{DEVIATION}"
_LONG_NAMES = {
    TIME: "time of the observation",
    VALUE: "measured value",
    QUANTITY: "measured quantity",
    DEVIATION: "standard deviation of the measurement's error",
    SAMPLE: "index of the trajectory",
}


def points(columns: Mapping[str, Any], units: Mapping[str, str] | None = None) -> xr.Dataset:
    """Scattered measurements from arrays, in the form in which `read_points` returns a file's.

    **Arguments:**

    - `columns`: by name, arrays of one length, or a number or text for all rows: `time`, `x` (`y`,
      `z`) and the values of each quantity under its name; or `value` and `quantity`, its name. Also
      `standard_deviation` and `sample`. Rows whose value is NaN are dropped.
    - `units`: by name of a column or quantity.

    **Returns:** dimension `observation`; variables as those of `read_points`.

    **Raises:** `InputError` for columns that are missing, of different lengths, or not numbers, and
    for units of an unknown name.
    """
    names = [*columns]
    if missing := [name for name in (TIME, "x") if name not in columns]:
        raise InputError(f"points: lack a column {' and '.join(missing)}; given: {listed(names)}")
    try:
        arrays = np.broadcast_arrays(*(np.atleast_1d(column) for column in columns.values()))
    except ValueError:
        lengths = {name: np.shape(column) for name, column in columns.items()}
        raise InputError(f"points: expected columns of one length, got {lengths}") from None
    named = dict(zip(names, arrays, strict=True))
    for name, column in named.items():
        expected = "OSUT" if name == QUANTITY else "biufM"
        if column.ndim != 1 or column.dtype.kind not in expected:
            raise InputError(
                f"points: '{name}' has shape {column.shape} and type {column.dtype}; expected one "
                f"{'text' if name == QUANTITY else 'number'} a row"
            )
    as_table = {
        name: column.astype(object)
        if name == QUANTITY
        else column
        if column.dtype.kind == "M"
        else column.astype(np.float64)
        for name, column in named.items()
    }
    quantities = set(map(str, as_table.get(QUANTITY, ())))
    for name in units or {}:
        if name not in {*named, *quantities}:
            raise InputError(f"points: units of '{name}', which is none of {listed(names)}")
    try:
        return points_from_table(Table(as_table, dict(units or {})))
    except InputError as error:
        raise InputError(f"points: {error}") from None


def points_from_table(table: Table, attrs: Mapping[str, Any] | None = None) -> xr.Dataset:
    """The points in a table, in either of two forms.

    - Long: columns `value` and perhaps `quantity` (default `value`) and `standard_deviation`.
    - Wide: each further column is a quantity, `NAME_standard_deviation` its standard deviation; of
      a single quantity, also `standard_deviation`.

    Both have `time`, `x` (and `y`, `z`) and perhaps `sample`. Rows without a value are dropped and
    counted, in the attribute `dropped_rows`.

    **Raises:** `InputError` for columns that are missing and values that are not finite.
    """
    columns = table.columns
    space = [axis for axis in SPACE if axis in columns]
    if missing := [name for name in (TIME, "x") if name not in columns]:
        expected = (
            "arrays 'time', 'x' ('y', 'z') and 'value' of one length"
            if table.lines is None
            else "a header such as 'time,x,y,quantity,value,standard_deviation'"
        )
        names = ", ".join(f"'{name}'" for name in missing)
        raise InputError(
            f"has no {table.word} {names}; it has {listed(columns)}; expected "
            f"{expected}, or other names assigned by {assigned(columns, missing)}"
        )
    if not len(columns[TIME]):
        there = "arrays without an entry" if table.lines is None else "a header but no row"
        raise InputError(f"has {there}; expected one for each observation")
    times = elapsed(xr.Variable(OBSERVATION, columns[TIME], _unit(table, TIME)))
    known = {TIME: times.to_numpy(), SAMPLE: _samples(table)}
    known |= {axis: np.asarray(columns[axis], dtype=np.float64) for axis in space}
    long = VALUE in columns
    parts = [
        _measured(table, known, VALUE if long else str(names[0]), names, values, deviations)
        for names, values, deviations in _quantities(table, space)
    ]
    if not sum(len(part[VALUE]) for part in parts):
        raise InputError("has no value in any row: all are empty or NaN")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    before = (attrs or {}).get(DROPPED, 0)
    dropped = len(parts) * len(columns[TIME]) - len(joined[VALUE])
    dropped += int(before) if isinstance(before, int | np.integer) else 0
    described = {name: _LONG_NAMES.get(name, f"position along {name}") for name in joined}
    units = {name: _unit(table, name) for name in joined} | {TIME: dict(times.attrs)}
    units[VALUE] = _units_of_values(table, joined[QUANTITY])
    return xr.Dataset(
        {
            name: (OBSERVATION, values, {"long_name": described[name], **units[name]})
            for name, values in joined.items()
        },
        attrs={**(attrs or {}), "featureType": "point", DROPPED: dropped},
    )


def look_like_points(dataset: xr.Dataset, axes: Mapping[str, str] | None = None) -> bool:
    """True if a dataset in a file has times and positions along one dimension."""
    if str(dataset.attrs.get("featureType", "")).lower() == "point":
        return True
    usual = usual_names(map(str, dataset.variables), axes)
    dims = {usual[str(n)]: v.dims for n, v in dataset.variables.items()}
    return len(dims.get(TIME, ())) == 1 and dims[TIME] == dims.get("x")


def points_from_dataset(dataset: xr.Dataset, axes: Mapping[str, str] | None = None) -> xr.Dataset:
    """`points_from_table` for the variables of a NetCDF or Zarr file."""
    usual = usual_names(map(str, dataset.variables), axes)
    variables = {usual[str(n)]: v for n, v in dataset.variables.items()}
    if len(variables) != len(usual):
        raise InputError(f"two names stand for the same in {listed(usual)}; drop one")
    for required in (TIME, "x"):
        if required not in variables or variables[required].ndim != 1:
            raise InputError(
                f"has scattered points but no variable '{required}' with one dimension; it has "
                f"{listed(dataset.variables)}"
            )
    dims = variables[TIME].dims
    columns, units = {}, {}
    for name, variable in variables.items():
        if name == dims[0]:
            continue
        if variable.dims != dims:
            # a scalar for all points, such as the height of a plane, is not a column
            if name in POINT_COLUMNS and (variable.ndim or name in (VALUE, QUANTITY, DEVIATION)):
                raise InputError(
                    f"has scattered points along {listed(dims)}, but variable '{name}' has "
                    f"dimensions {listed(variable.dims)}; expected one entry for each point"
                )
            continue
        values = variable.to_numpy()
        is_text = values.dtype.kind in "OSUT"
        if is_text != (name == QUANTITY) or values.dtype.kind in "cV":
            raise InputError(
                f"variable '{name}' holds {values.dtype}; expected "
                f"{'text' if name == QUANTITY else 'real numbers'}"
            )
        if is_text:
            columns[name] = np.array([text(v) for v in values], dtype=object)
        else:
            columns[name] = values if values.dtype.kind in "fMm" else values.astype(np.float64)
        units |= {name: str(variable.attrs["units"])} if "units" in variable.attrs else {}
    of_values = variables[VALUE].attrs if VALUE in variables else {}
    prefix = "units_"
    units |= {n.removeprefix(prefix): str(u) for n, u in of_values.items() if n.startswith(prefix)}
    start = variables[TIME].attrs.get("start")
    points = points_from_table(Table(columns, units), dataset.attrs)
    if start is not None:
        points[TIME].attrs.setdefault("start", start)
    return points


def of_quantities(variables: Names) -> Names:
    """The names that are of quantities, without those that assign columns."""
    if isinstance(variables, Mapping):
        return {n: w for n, w in variables.items() if w not in POINT_COLUMNS} or None
    return variables


def chosen_quantities(points: xr.Dataset, variables: Names) -> xr.Dataset:
    """Select quantities, under the names wanted.

    **Raises:** `InputError` for one that does not exist.
    """
    if variables is None:
        return points
    names = points[QUANTITY].to_numpy()
    there = sorted(set(map(str, names)))
    wanted = chosen_names(there, variables)
    kept = np.isin(names.astype(str), list(wanted))
    chosen = points.isel({OBSERVATION: kept})
    renamed = np.array([wanted[str(n)] for n in names[kept]], dtype=object)
    chosen[QUANTITY] = (OBSERVATION, renamed, points[QUANTITY].attrs)
    units, value = dict(points[VALUE].attrs), chosen[VALUE]
    shared = {n: u for n, u in units.items() if not n.startswith("units_")}
    own = {w: units.get(f"units_{n}") for n, w in wanted.items() if f"units_{n}" in units}
    if len(set(wanted.values())) == 1 and own:
        shared["units"] = own.popitem()[1]
    value.attrs = shared | {f"units_{w}": u for w, u in own.items()}
    return chosen


def in_units(points: xr.Dataset, units: Mapping[str, str]) -> xr.Dataset:
    """Points with coordinates and quantities in the units wanted.

    **Raises:** `InputError` for a name that is neither, and for a unit of another kind.
    """
    names = points[QUANTITY].to_numpy().astype(str)
    quantities = sorted(set(names))
    values, deviations = points[VALUE].to_numpy().copy(), points[DEVIATION].to_numpy().copy()
    stated = {name: units_of(points, name) for name in quantities}
    found = points.copy()
    for name, wanted in units.items():
        if name in (TIME, *SPACE) and name in points:
            found[name] = convert(points[name].variable, name, wanted)
            continue
        if name not in quantities:
            there = [TIME, *space_of(points), *quantities]
            raise InputError(f"units: there is no '{name}' among {listed(there)}")
        unit, own = stated[name], names == name
        attrs = {} if unit is None else {"units": unit}
        values[own] = convert(xr.Variable(OBSERVATION, values[own], attrs), name, wanted).to_numpy()
        # an error is a difference, which has no offset
        ends = convert(xr.Variable(OBSERVATION, np.array([0.0, 1.0]), attrs), name, wanted)
        deviations[own] *= float(np.diff(ends.to_numpy())[0])
        stated[name] = wanted
    found[DEVIATION] = (OBSERVATION, deviations, points[DEVIATION].attrs)
    kept = {k: v for k, v in points[VALUE].attrs.items() if not k.startswith("units")}
    attribute = "units" if len(quantities) == 1 else "units_{}"
    known = {attribute.format(name): unit for name, unit in stated.items() if unit is not None}
    found[VALUE] = (OBSERVATION, values, kept | known)
    return found


def units_of(points: xr.Dataset, name: str) -> str | None:
    """The unit of a quantity's values; None if it is not stated."""
    attrs = points[VALUE].attrs
    unit = attrs.get(f"units_{name}", attrs.get("units"))
    return None if unit is None else str(unit)


def _unit(table: Table, name: str) -> dict[str, Any]:
    return {"units": table.units[name]} if name in table.units else {}


def _units_of_values(table: Table, quantities: np.ndarray) -> dict[str, str]:
    """`units` for a single quantity, `units_NAME` of each for several."""
    names = sorted(set(quantities.tolist()))
    if len(names) == 1:
        unit = table.units.get(VALUE, table.units.get(names[0]))
        return {} if unit is None else {"units": unit}
    shared = {"units": table.units[VALUE]} if VALUE in table.units else {}
    return shared | {f"units_{n}": table.units[n] for n in names if n in table.units}


def _samples(table: Table) -> np.ndarray:
    given = table.columns.get(SAMPLE)
    if given is None:
        return np.zeros(len(table.columns[TIME]), dtype=np.int64)
    with np.errstate(invalid="ignore"):
        wrong = ~((given >= 0) & (given < 2**31) & (given == np.floor(given)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{table.place(row)}, {table.word} '{SAMPLE}': {given[row]:g} is not the index of a "
            f"sample; write whole numbers from 0 on"
        )
    return given.astype(np.int64)


def _quantities(
    table: Table, space: list[str]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Names, values and standard deviations of all rows."""
    columns, rows = table.columns, len(table.columns[TIME])
    if VALUE in columns:
        names = columns.get(QUANTITY, np.full(rows, VALUE, dtype=object))
        extra = set(columns) - {TIME, *space, SAMPLE, VALUE, QUANTITY, DEVIATION}
        if extra:
            raise InputError(
                f"has a {table.word} '{VALUE}' and also {listed(sorted(extra))}; expected either "
                f"'quantity' and 'value', or one {table.word} a quantity"
            )
        return [(names, columns[VALUE], columns.get(DEVIATION))]
    if QUANTITY in columns:
        raise InputError(f"has '{QUANTITY}' but no '{VALUE}'; it has {listed(columns)}")
    others = [name for name in columns if name not in (TIME, *space, SAMPLE, DEVIATION)]
    measured = [
        name
        for name in others
        if not (name.endswith(_OF_QUANTITY) and name.removesuffix(_OF_QUANTITY) in columns)
    ]
    if not measured:
        raise InputError(f"has no quantity besides {listed(columns)}; add '{VALUE}'")
    if DEVIATION in columns and len(measured) > 1:
        raise InputError(
            f"has one {table.word} '{DEVIATION}' for {len(measured)} quantities "
            f"{listed(measured)}; rename it '{measured[0]}{_OF_QUANTITY}', and add one for each "
            f"other with a known error"
        )
    shared = columns.get(DEVIATION)
    return [
        (np.full(rows, name, dtype=object), columns[name], columns.get(name + _OF_QUANTITY, shared))
        for name in measured
    ]


def _measured(
    table: Table,
    known: Mapping[str, np.ndarray],
    column: str,
    names: np.ndarray,
    values: np.ndarray,
    deviations: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """The observations of one quantity, or of a long table; rows without a value are left out."""
    kept = ~np.isnan(values)
    _require(table, column, values, kept & np.isinf(values), "a finite number")
    for axis, where in known.items():
        _require(table, axis, where, kept & ~np.isfinite(where), "a finite number")
    if deviations is None:
        deviations = np.full(len(values), np.nan)
    unusable = kept & ~np.isnan(deviations) & ~((deviations > 0) & np.isfinite(deviations))
    _require(table, DEVIATION, deviations, unusable, "positive and finite, or empty")
    unnamed = kept & np.array([not str(name).strip() for name in names], dtype=bool)
    _require(table, QUANTITY, names, unnamed, "the name of a quantity")
    return {
        **{name: where[kept] for name, where in known.items() if name != SAMPLE},
        VALUE: values[kept].astype(np.float64),
        QUANTITY: np.array([str(name) for name in names[kept]], dtype=object),
        DEVIATION: deviations[kept].astype(np.float64),
        SAMPLE: known[SAMPLE][kept],
    }


def _require(table: Table, name: str, values: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{table.place(row)}, {table.word} '{name}': '{values[row]}' given, expected "
            f"{expected} ({int(wrong.sum())} such row(s))"
        )
