"""Text tables: a header, then one row per line."""

import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from impindiff.data._forms import QUANTITY, TIME, require_known, usual_names
from impindiff.data.file_errors import listed, reading
from impindiff.errors import InputError

_WITH_UNIT = re.compile(r"(?P<name>[^\[\]]+?)\s*\[(?P<unit>[^\[\]]*)\]")
_COMMENTED_UNIT = re.compile(r"#\s*units of (?P<name>.+?):\s*(?P<unit>.+)")
_DELIMITERS = ";\t,"
_NOT_GIVEN = ("", "nan", "na", "n/a", "null", "none")


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length, by name.

    **Arguments:**

    - `columns`: float64, datetime64 or, for `quantity` only, text.
    - `units`: those stated, by column or quantity.
    - `lines`: the line of the file for each row, counted from 1; None for arrays.
    """

    columns: dict[str, np.ndarray]
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    lines: np.ndarray | None = None

    @property
    def word(self) -> str:
        """The word for one of `columns` in the file's format."""
        return "array" if self.lines is None else "column"

    def place(self, row: int) -> str:
        """The position of a row, in words."""
        return f"row {row}" if self.lines is None else f"line {int(self.lines[row])}"


def read_table(path: Path, axes: Mapping[str, str] | None = None) -> Table:
    """Read text separated by commas, semicolons or tabs, with or without quotes.

    The first line that is no comment (`#`) is the header; `time [s]` in it is the column `time` in
    seconds, and `# units of dye: mg/l` states the unit of a quantity. Empty cells, NaN and NA
    become NaN. The column of times may hold ISO 8601 dates.

    **Arguments:**

    - `axes`: {name in the file: name wanted} of columns; others are recognised by their names.

    **Raises:** `InputError` with line and column.
    """
    with reading("text in UTF-8"):
        text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        raise InputError("is empty; expected a header such as 'time,x,y,quantity,value' and rows")
    header, units, rows, lines = _rows(text, axes or {})
    columns = {}
    by_column = zip(*rows, strict=True) if rows else ((),) * len(header)
    for name, cells in zip(header, by_column, strict=True):
        columns[name] = _column(name, [cell.strip() for cell in cells], lines)
    return Table(columns, units, np.array(lines, dtype=int))


def _rows(
    text: str, axes: Mapping[str, str]
) -> tuple[list[str], dict[str, str], list[list[str]], list[int]]:
    units: dict[str, str] = {}
    kept: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            if found := _COMMENTED_UNIT.fullmatch(line.strip()):
                units[found["name"]] = found["unit"]
        elif line.strip():
            kept.append(line)
            numbers.append(number)
    if not kept:
        raise InputError("has comments only; expected a header such as 'time,x,value' and rows")
    delimiter = next((mark for mark in _DELIMITERS if mark in kept[0]), ",")
    with reading("CSV"):
        cells = list(csv.reader(kept, delimiter=delimiter, strict=True))
    if len(cells) != len(kept):
        raise InputError("has a cell in quotes that spans lines; keep each row on one line")
    names: list[str] = []
    for column in cells[0]:
        with_unit = _WITH_UNIT.fullmatch(column.strip())
        names.append(str(with_unit["name"]) if with_unit else column.strip())
        if with_unit and with_unit["unit"].strip():
            units[names[-1]] = with_unit["unit"].strip()
    require_known(axes, names)
    usual = usual_names(names, axes)
    units = {usual.get(name, name): unit for name, unit in units.items()}
    header = [usual[name] for name in names]
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise InputError(
            f"line {numbers[0]}: column '{twice[0]}' is given twice; rename or drop one"
        )
    if "" in header:
        raise InputError(
            f"line {numbers[0]}: column {header.index('') + 1} of the header has no name"
        )
    for row, number in zip(cells[1:], numbers[1:], strict=True):
        if len(row) != len(header):
            other = next((m for m in _DELIMITERS if m != delimiter and m in "".join(row)), None)
            why = "the file may be cut short"
            if len(row) > len(header):
                why = "write decimals with a point, and put a text that has a comma in quotes"
            elif other is not None:
                why = f"separate all lines alike, the header has {delimiter!r} and this {other!r}"
            raise InputError(
                f"line {number}: has {len(row)} value(s); expected {len(header)}, one for each of "
                f"{listed(header)}; {why}"
            )
    return header, units, cells[1:], numbers[1:]


def _column(name: str, cells: list[str], lines: list[int]) -> np.ndarray:
    if name == QUANTITY:
        return np.array(cells, dtype=object)
    numbers = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell.lower() in _NOT_GIVEN:
            continue
        try:
            numbers[i] = float(cell)
        except ValueError:
            dates = [_date(cell) for cell in cells] if name == TIME else [None]
            if None not in dates:
                return np.array(dates, dtype="datetime64[us]")
            if name == TIME and dates[i] is not None and np.isnan(numbers).all():
                wrong = dates.index(None)
                raise InputError(
                    f"line {lines[wrong]}, column '{name}': '{cells[wrong]:.40}' is not a date, as "
                    f"'{cell:.40}' on line {lines[i]} is; write it as in 2024-05-31T12:00:00"
                ) from None
            raise InputError(
                f"line {lines[i]}, column '{name}': '{cell:.40}' is not a number; write it with a "
                f"decimal point, such as 0.5 or 5e-1, or leave the cell empty"
            ) from None
    return numbers


def _date(cell: str) -> np.datetime64 | None:
    try:
        # NumPy has no time zones; Z, for UTC, changes no difference
        return np.datetime64(cell.removesuffix("Z"), "us")
    except ValueError:
        return None
