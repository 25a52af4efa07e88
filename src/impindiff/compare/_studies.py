"""Studies: a comparison repeated along one quantity."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from impindiff.compare._methods import Method


class Point(NamedTuple):
    """A point on a study's axis, and its changes to the configuration."""

    x: float
    label: str
    overrides: dict[str, Any]


class Scope(NamedTuple):
    """Properties of the problem that a study's points depend on.

    - `step`: its time step.
    - `places`: returns the number of measured places.
    """

    step: float
    places: Callable[[], int]


class Study(NamedTuple):
    """A comparison along one quantity.

    - `key`: its name in paths; `x_label`: on the figure.
    - `methods`: the default methods.
    - `points`: points on the axis, for a method.
    - `against_cost`: draw the error against seconds of training in place of x.
    - `measure`: a quantity measured in place of an error, without training (see `measures`).
    - `y_label`: of the figure, for the measured quantity; errors have that of the results.
    """

    summary: str
    key: str
    x_label: str
    methods: tuple[str, ...]
    points: Callable[[Method, "Scope"], list[Point]]
    against_cost: bool = False
    measure: Literal["temporary_mb", "largest_step"] | None = None
    y_label: str | None = None


_LEARNED = ("implicit", "fno", "conv_lstm", "local_law")
# factors on the problem's own step
_STEPS = {
    "implicit": (5, 2.5, 1, 0.5),
    "forward_euler": (1, 0.5, 0.25, 0.125),
    "rk4": (1, 0.5, 0.25),
}
# fractions of all places
_SENSORS = (1 / 256, 1 / 64, 1 / 16, 1 / 4)


def _steps(method: Method, scope: Scope) -> list[Point]:
    kind = "forward_euler" if method.name.startswith("forward_euler") else method.name
    factors = _STEPS.get("rk4" if kind.startswith("rk4") else kind, (1,))
    steps = [factor * scope.step for factor in factors]
    return [Point(dt, f"dt = {dt:g}", {"stepper": {"dt": dt}}) for dt in steps]


def _sensors(method: Method, scope: Scope) -> list[Point]:
    # teacher forcing needs whole fields
    fitted = {"method": {"fit_to": "trajectory"}} if method.name in ("fno", "conv_lstm") else {}
    return [
        Point(n, f"{n} sensors", {"observations": {"sensors": n}} | fitted)
        for n in dict.fromkeys(max(1, round(part * scope.places())) for part in _SENSORS)
    ]


def _noise(method: Method, scope: Scope) -> list[Point]:
    del method, scope
    return [
        Point(s, f"{100 * s:g} % noise", {"observations": {"noise": s}})
        for s in (0.01, 0.02, 0.05, 0.1)
    ]


def _iterations(method: Method, scope: Scope) -> list[Point]:
    del method, scope
    return [
        Point(
            n,
            f"at most {n} Krylov iterations",
            {"solver": {"max_iterations": 1, "max_krylov_iterations": n}},
        )
        for n in (5, 10, 20, 50)
    ]


def _rollout_steps(method: Method, scope: Scope) -> list[Point]:
    del method, scope
    return [
        Point(n, f"{n} steps", {"stepper": {"dt": 0.05 / n}, "observations": {"times": [0.05]}})
        for n in (5, 10, 20, 40, 80)
    ]


def _cells(method: Method, scope: Scope) -> list[Point]:
    del method, scope
    return [
        Point(n, f"{n} x {n // 2} cells", {"grid": {"cells": [n, n // 2]}})
        for n in (32, 64, 128, 256)
    ]


STUDIES: dict[str, Study] = {
    "pareto": Study(
        "error against cost: every method with several steps",
        "dt",
        "time step",
        ("implicit", "forward_euler_same_step", "rk4_same_step", "diffrax_tsit5", "fno"),
        _steps,
        against_cost=True,
    ),
    "sensors": Study(
        "error against the number of sensors", "sensors", "sensors", _LEARNED, _sensors
    ),
    "noise": Study(
        "error against noise",
        "noise",
        "noise, part of the field's standard deviation",
        _LEARNED,
        _noise,
    ),
    "memory_iterations": Study(
        "temporary memory of a training step against iterations of the linear solver",
        "iterations",
        "Krylov iterations allowed",
        ("implicit", "unrolled"),
        _iterations,
        measure="temporary_mb",
        y_label="temporary memory of a training step (MB)",
    ),
    "memory_steps": Study(
        "temporary memory of a training step against the number of time steps",
        "steps",
        "time steps",
        ("implicit", "unrolled", "rk4_same_step"),
        _rollout_steps,
        measure="temporary_mb",
        y_label="temporary memory of a training step (MB)",
    ),
    "stability": Study(
        "largest stable step against the size of the grid, with the true coefficients",
        "cells",
        "cells along the longer side",
        ("implicit", "forward_euler_same_step", "rk4_same_step"),
        _cells,
        measure="largest_step",
        y_label="largest stable step (at most twice the horizon)",
    ),
}
