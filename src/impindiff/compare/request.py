"""What a comparison is asked for, and the runs that it consists of."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from impindiff.cases import get_case
from impindiff.cases.configuration import StrictModel, dotted, merged, without_useless
from impindiff.cases.yaml_text import one_line
from impindiff.compare.methods import Method, choose, methods_of
from impindiff.compare.studies import STUDIES, Point

REQUEST = "comparison.yaml"

# Time between stored states: a multiple of it is each time at which errors are compared.
_EVERY = {
    "advection_diffusion_steady": 0.025,
    "advection_diffusion_dynamic": 0.05,
    "burgers": 0.1,
}
_QUICK: dict[str, Any] = {"grid": {"cells": [64, 32]}}
QUICK_BUDGET = 5.0
_NOT_QUICK = ("diffrax_kvaerno5", "rk4_same_step", "forward_euler_equal_error")


class Request(StrictModel):
    """All that a comparison depends on; stored in its folder as `comparison.yaml`.

    - `methods`: names, see `methods_of`; null: all.
    - `seeds`: how many: seed k is that of network, truth and observations.
    - `budget`: seconds of training of each run; null: each method's number of steps.
    - `quick`: a coarser grid, fewer methods, one seed and a small budget, for a first look.
    - `study`: one of `STUDIES`; null: the methods, side by side.
    - `overrides`: of the case's configuration, the same for every method.
    """

    case: str
    methods: tuple[str, ...] | None = None
    seeds: Annotated[int, Field(ge=1)] = 1
    budget: Annotated[float, Field(gt=0)] | None = None
    quick: bool = False
    study: str | None = None
    overrides: dict[str, Any] = Field(default={})

    def command(self) -> str:
        """What to type in a shell to make the same."""
        words = ["impindiff", "compare", self.case]
        if self.study is not None:
            words += ["--study", self.study]
        if self.methods is not None:
            words += ["--methods", ",".join(self.methods)]
        words += ["--quick"] if self.quick else ["--seeds", str(self.seeds)]
        if self.budget is not None and not (self.quick and self.budget == QUICK_BUDGET):
            words += ["--budget", f"{self.budget:g}"]
        for key, value in dotted(self.overrides):
            words += ["--set", f"{key}={one_line(value)}"]
        return shlex.join(words)


class Row(NamedTuple):
    """A method, at a point of a study if there is one: a line of the table, a run for each seed."""

    name: str
    title: str
    method: Method
    point: Point | None

    def overrides(
        self, seed: int, request: Request, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Of the case's configuration, for one of its runs.

        What is asked for every method, or along a study, may have no use in this one, such as a
        linear solver's in explicit steps: it is left out. What has none in the case itself is
        refused before (see `compare_case`).

        - `more`: what was measured or made for this run, which wins.
        """
        given: dict[str, Any] = {"seed": seed, "observations": {"seed": seed}}
        if request.case in _EVERY:
            given = merged(given, {"truth": {"seed": seed}})
        if request.quick and request.case in _EVERY:
            given = merged(given, _QUICK)
        given = merged(given, request.overrides)
        given = merged(given, self.method.overrides)
        if self.point is not None:
            given = merged(given, self.point.overrides)
        given = merged(given, {"forecast": {"keep_failed": True}})
        given = merged(given, more or {})
        # one that cannot be run may have no valid configuration
        runs = self.method.not_run is None
        return without_useless(get_case(request.case).settings, given) if runs else given


def rows_of(request: Request) -> list[Row]:
    """All rows, those that cannot be run among them.

    Raises `InputError` for a case or method that there is not, or a study that does not fit.
    """
    study = None if request.study is None else STUDIES[request.study]
    if request.methods is not None:
        names = list(request.methods)
    else:
        names = list(methods_of(request.case) if study is None else study.methods)
        if request.quick:
            names = [name for name in names if name not in _NOT_QUICK]
    if study is None:
        return [Row(m.name, m.title, m, None) for m in choose(request.case, names)]
    rows = []
    for method in choose(request.case, names):
        for point in study.points(method):
            name = f"{method.name}/{study.key}={point.x:g}"
            rows.append(Row(name, f"{method.title}, {point.label}", method, point))
    return rows


def stored_every(case: str) -> float | None:
    """Time between stored states of the reference; None: the case's own."""
    return _EVERY.get(case)


def folder_of(row: Row, seed: int, out: Path) -> Path:
    """Where a run is."""
    return out / "runs" / row.name / f"seed-{seed}"
