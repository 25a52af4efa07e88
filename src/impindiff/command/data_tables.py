"""Descriptions of files and public data sets as tables for a terminal."""

import shlex
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from impindiff.data import Description, PublicDataSet, VariableDescription
from impindiff.errors import printable

_LONGEST_ATTRIBUTE = 200


def description_tables(
    description: Description, options: Sequence[str] = ()
) -> Iterator[RenderableType]:
    """One table per subject; empty ones are left out.

    - `options`: values of `--set` that a run needs to read the file.
    """
    sizes = ", ".join(f"{name} {size}" for name, size in description.dimensions.items())
    sizes += "".join(f", {count} distinct {name}" for name, count in description.distinct.items())
    yield _unbroken(f"{description.path}: {description.format}, {description.kind}")
    yield Text(printable(sizes), style="dim")
    yield _coordinates(description)
    yield _variables(description)
    if any(v.looked_at < v.size for v in description.variables.values()):
        yield Text("* range and missing values of some snapshots", style="dim")
    if description.attributes:
        shown = {n: v[:_LONGEST_ATTRIBUTE] for n, v in description.attributes.items()}
        yield _table(["attribute", "value"], [[n, v] for n, v in shown.items()])
    if description.problems:
        yield _table(["possible problems"], [[problem] for problem in description.problems])
    yield Text("to fit a model of yours to it (impindiff new NAME)", style="bold")
    path = shlex.quote(str(description.path))
    more = "".join(f" --set {shlex.quote(option)}" for option in options)
    yield _unbroken(f"impindiff run my_model.py --set data.path={path}{more}")


def public_data_table(known: Iterable[PublicDataSet]) -> Table:
    """A table of public data sets: name, content, licence, source."""
    table = Table(box=None, pad_edge=False)
    table.add_column("data set", no_wrap=True)
    for column in ("content", "licence", "from"):
        table.add_column(column)
    for chosen in known:
        table.add_row(chosen.name, chosen.about, chosen.licence, chosen.repository)
    return table


def _unbroken(line: str) -> RenderableType:
    """A line that is never wrapped, so that a command can be copied."""
    # a console joins plain texts and wraps them
    return Group(Text(printable(line), no_wrap=True, overflow="ignore"))


def _coordinates(description: Description) -> Table:
    points = description.kind == "points"
    columns = ["coordinate", "lowest" if points else "first", "highest" if points else "last"]
    rows = []
    for name, found in description.coordinates.items():
        spacing = "uneven" if found.spacing is None else f"{found.spacing:.6g}"
        row = [name, f"{found.first:.6g}", f"{found.last:.6g}"]
        rows.append([*row, *([] if points else [spacing]), found.units or ""])
    return _table([*columns, *([] if points else ["spacing"]), "units"], rows)


def _variables(description: Description) -> Table:
    points = description.kind == "points"
    last = "standard deviation" if points else "long name"
    columns = ["variable", "dimensions", "lowest", "highest", "missing", "units", last]
    rows = []
    for name, found in description.variables.items():
        sizes = ", ".join(f"{dim} {size}" for dim, size in found.dimensions.items())
        bounds = ["-" if v is None else f"{v:.6g}" for v in (found.lowest, found.highest)]
        row = [name, sizes, *bounds, _missing(found), found.units or ""]
        # points have no long names
        stated = dict.fromkeys(f"{value:.6g}" for value in found.standard_deviation or ())
        row.append((" to ".join(stated) or "none stated") if points else found.long_name or "")
        rows.append(row)
    return _table(columns, rows)


def _missing(found: VariableDescription) -> str:
    star = "*" if found.looked_at < found.size else ""
    if not found.missing:
        return f"0{star}"
    return f"{100 * found.missing / found.looked_at:.3g} %{star}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # as text: a file's content may look like console markup
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
