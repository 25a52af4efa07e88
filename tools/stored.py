"""What is stored of runs and comparisons, and the commands of the comparisons."""

from pathlib import Path

from impindiff.results import (
    ComparisonResults,
    ForecastErrors,
    LatentErrors,
    MethodResults,
    RunMetrics,
)

RESULTS = Path(__file__).parents[1] / "docs" / "results"
STORED = RESULTS / "comparisons"

_STEADY = "advection_diffusion_steady"
_COMMANDS = {
    "steady": f"{_STEADY} --seeds 3 --budget 20",
    "stiff": f"{_STEADY} --seeds 1 --budget 20 --set physics.diffusivity=0.01 "
    "--methods implicit,forward_euler_same_step,rk4_same_step,forward_euler,rk4",
    "dynamic": "advection_diffusion_dynamic --seeds 1 --budget 45",
    "burgers": "burgers --seeds 1 --budget 45",
    "infiltration": "vapor_infiltration_closure --seeds 1 --budget 60",
    "memory_iterations": f"{_STEADY} --study memory_iterations",
    "memory_steps": f"{_STEADY} --study memory_steps",
    "stability": f"{_STEADY} --study stability",
}
COMPARISONS = {
    "steady": "Advection-diffusion, steady velocity",
    "stiff": "The same with ten times the diffusivity, which is stiffer",
    "dynamic": "Advection-diffusion, velocity that changes in time",
    "burgers": "Burgers' equation, unknown diffusivity",
    "infiltration": "Chemical vapor infiltration, unknown diffusivity of the pores",
}
STUDIES = {
    "memory_iterations": "Memory against iterations of the solver",
    "memory_steps": "Memory against time steps",
    "stability": "Largest stable step against the size of the grid",
}


def command_of(name: str) -> str:
    """What to type to redo it."""
    return f"impindiff compare {_COMMANDS[name]}"


def metrics(name: str) -> RunMetrics:
    """The metrics of a run."""
    return RunMetrics.read(RESULTS / f"{name}.json")


def errors_of(name: str) -> tuple[ForecastErrors, LatentErrors]:
    """The errors of a run whose truth is known: of the forecast, and of what was unknown."""
    found = metrics(name)
    assert found.forecast is not None
    assert found.latent is not None
    return found.forecast, found.latent


def load(name: str) -> ComparisonResults:
    """The results of a comparison."""
    return ComparisonResults.read(STORED / f"{name}.json")


def rows(name: str) -> dict[str, MethodResults]:
    """Its rows by name."""
    return {row.name: row for row in load(name).methods}


def error(name: str, method: str, time: str = "horizon") -> float | None:
    """A mean test error in percent."""
    return rows(name)[method].error(time)


def blow_ups(name: str, method: str) -> tuple[int, int]:
    """(runs that failed, runs)."""
    row = rows(name)[method]
    return row.failures, len(row.runs)


def along(name: str, method: str, key: str) -> list[tuple[float, float]]:
    """(x, value) of a study's rows of a method."""
    found = [(r.x, getattr(r.mean, key)) for r in load(name).methods if r.method == method]
    return [(x, value) for x, value in found if x is not None and value is not None]
