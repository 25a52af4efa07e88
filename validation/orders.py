"""What the tables of orders share: the slope of errors by refinement, beside theory."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.table import Table


class Row(NamedTuple):
    """One line of a table; it passes if the order is theory's within the tolerance."""

    problem: str
    method: str
    refined: str
    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    order: float
    theory: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return abs(self.order - self.theory) <= self.tolerance


def row(
    problem: str,
    method: str,
    refined: str,
    theory: float,
    sizes: tuple[int, ...],
    error: Callable[[int], float],
    *,
    tolerance: float,
) -> Row:
    """The order: slope of a straight line through the last 3 refinements."""
    errors = tuple(error(n) for n in sizes)
    order = -float(np.polyfit(np.log(sizes[-3:]), np.log(errors[-3:]), 1)[0])
    return Row(problem, method, refined, sizes, errors, order, theory, tolerance)


def table_of(rows: list[Row], title: str) -> Table:
    table = Table(title=title)
    for heading in ("problem", "method", "refined", "errors, halving", "order", "theory", ""):
        table.add_column(heading)
    for r in rows:
        sizes = f"{r.refined} {r.sizes[0]}-{r.sizes[-1]}"
        errors = " ".join(f"{e:.1e}" for e in r.errors)
        verdict = "ok" if r.passed else "OFF"
        table.add_row(
            r.problem, r.method, sizes, errors, f"{r.order:.2f}", f"{r.theory:g}", verdict
        )
    return table
