"""The request for a comparison, and the runs that make it up."""

import functools
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from impindiff.compare._methods import BLACK_BOX, Method, choose, methods_of
from impindiff.compare._studies import STUDIES, Point, Scope
from impindiff.errors import InputError
from impindiff.problem import Problem, as_data, load_problem
from impindiff.problem.samples import AXES
from impindiff.problems import get_problem
from impindiff.rollout import AdaptiveStep
from impindiff.settings import load_settings
from impindiff.settings.choices import models_in, without
from impindiff.settings.configuration import StrictModel, dotted, merged, without_useless
from impindiff.settings.steps import is_steady
from impindiff.settings.yaml_text import one_line

REQUEST = "comparison.yaml"
_ADAPTIVE = 0.01

QUICK_BUDGET = 5.0
_NOT_QUICK = ("diffrax_kvaerno5", "rk4_same_step", "forward_euler_equal_error")


class Request(StrictModel):
    """All inputs of a comparison; stored in its folder as `comparison.yaml`.

    - `problem`: the name of a built-in one, or the file that defines it.
    - `methods`: names, see `methods_of`; null: all.
    - `seeds`: number of seeds; seed k sets network, truth and observations.
    - `budget`: seconds of training of each run; null: each method's number of steps.
    - `quick`: a coarser grid, fewer methods, one seed and a small budget.
    - `study`: one of `STUDIES`; null: methods side by side.
    - `overrides`: changes to the problem's configuration, the same for every method.
    """

    problem: str
    methods: tuple[str, ...] | None = None
    seeds: Annotated[int, Field(ge=1)] = 1
    budget: Annotated[float, Field(gt=0)] | None = None
    quick: bool = False
    study: str | None = None
    overrides: dict[str, Any] = Field(default={})

    def command(self) -> str:
        """The shell command that repeats the comparison."""
        words = ["impindiff", "compare", self.problem]
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


def problem_of(request: Request) -> Problem:
    """The problem to compare. Raises `InputError` as `load_problem` and `get_problem`."""
    if request.problem.endswith(".py"):
        return _loaded(request.problem)
    return get_problem(request.problem)


@functools.lru_cache(maxsize=8)
def _loaded(path: str) -> Problem:
    return load_problem(Path(path))


class Row(NamedTuple):
    """A method, at a point of a study if there is one: a table row, with a run for each seed."""

    name: str
    title: str
    method: Method
    point: Point | None

    def overrides(
        self, seed: int, request: Request, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Overrides of the problem's configuration for one run.

        Keys requested for every method, or along a study, that have no effect in this run, such as
        those of a linear solver with explicit steps, are left out. Keys without effect in the
        problem itself are refused earlier (see `compare_problem`).

        - `more`: values measured or made for this run, which take precedence.
        """
        problem = problem_of(request)
        given: dict[str, Any] = {"seed": seed, "observations": {"seed": seed}}
        if _has_seed(problem.settings, "truth"):
            given = merged(given, {"truth": {"seed": seed}})
        if request.quick:
            given = merged(given, dict(problem.quick))
        given = merged(given, request.overrides)
        if self.method.kind == BLACK_BOX:
            given = _without_parts(given)
        given = merged(given, self.method.overrides)
        if self.point is not None:
            given = merged(given, self.point.overrides)
        given = merged(given, {"forecast": {"keep_failed": True}})
        given = merged(given, more or {})
        # a method that cannot run may have no valid configuration
        runs = self.method.not_run is None
        return without_useless(problem.settings, given) if runs else given


def _without_parts(given: dict[str, Any]) -> dict[str, Any]:
    """Leave out keys that name parts of the problem's model, which a black box does not have."""
    for key in ("rates", "freeze"):
        if key in given.get("training", {}):
            given = without(given, ("training", key))
    return given


def _has_seed(settings: type[BaseModel], section: str) -> bool:
    """True if a section of a configuration has a seed."""
    info = settings.model_fields.get(section)
    models = () if info is None else models_in(info.annotation)
    return any("seed" in model.model_fields for model in models)


def rows_of(request: Request) -> list[Row]:
    """All rows, including those that cannot be run.

    **Raises:** `InputError` for an unknown problem or method, or a study that does not fit.
    """
    study = None if request.study is None else STUDIES[request.study]
    if is_steady(load_settings(problem_of(request).settings, request.overrides)):
        raise InputError(
            "stepper.name: steady; a comparison is of methods that advance a state in time: choose "
            "another stepper, or train this problem by impindiff run"
        )
    available = methods_of(problem_of(request), request.overrides)
    if request.methods is not None:
        names = list(request.methods)
    else:
        names = list(available if study is None else study.methods)
        if request.quick:
            names = [name for name in names if name not in _NOT_QUICK]
    if study is None:
        return [Row(m.name, m.title, m, None) for m in choose(available, names)]
    rows, scope = [], _scope_of(request)
    for method in choose(available, names):
        for point in study.points(method, scope):
            name = f"{method.name}/{study.key}={point.x:g}"
            rows.append(Row(name, f"{method.title}, {point.label}", method, point))
    return rows


def _scope_of(request: Request) -> Scope:
    problem = problem_of(request)
    settings = load_settings(problem.settings, request.overrides)
    step = problem.step(settings)

    @functools.cache
    def places() -> int:
        scale = problem.scale(settings)
        if scale is not None and settings.data.path is None:
            return math.prod(scale.cells)
        data = as_data(problem.data(settings), None)
        if not data.scattered:
            return math.prod(data.dataset.sizes[axis] for axis in AXES if axis in data.dataset.dims)
        columns = [data.dataset[axis].to_numpy() for axis in AXES if axis in data.dataset]
        return len(np.unique(np.stack(columns, axis=1), axis=0))

    # adaptive steps have no points along them
    return Scope(_ADAPTIVE if isinstance(step, AdaptiveStep) else step, places)


def folder_of(row: Row, seed: int, out: Path) -> Path:
    """The folder of a run."""
    return out / "runs" / row.name / f"seed-{seed}"
