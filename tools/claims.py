"""What the method claims, and what the stored results say to each: written by numbers alone."""

import json
from collections.abc import Callable
from typing import NamedTuple

from evidence_tables import number
from stored import RESULTS, along, blow_ups, error, errors_of, load, rows

HOLDS, PARTLY, FAILS = "**holds**", "**holds only when** ", "**does not hold**"
BLACK_BOXES = ("fno", "conv_lstm")
FIVE = 5.0


class Claim(NamedTuple):
    """A row: what is claimed, how it is tested, what was found and what follows."""

    claim: str
    test: str
    figure: Callable[[], str]
    verdict: Callable[[], str]


def _blow_ups_of(name: str) -> str:
    texts = []
    for method in ("implicit", "forward_euler_same_step", "rk4_same_step"):
        failed, runs = blow_ups(name, method)
        texts.append(f"{method} {failed} of {runs}")
    return ", ".join(texts)


def _explicit_fails(name: str) -> bool:
    """Whether an explicit method at the implicit step blew up, and the implicit one did not."""
    return blow_ups(name, "implicit")[0] == 0 and any(
        blow_ups(name, method)[0] for method in ("forward_euler_same_step", "rk4_same_step")
    )


def stability_figure() -> str:
    return (
        f"blow-ups, as shipped: {_blow_ups_of('steady')}; ten times the diffusivity: "
        f"{_blow_ups_of('stiff')}; velocity that changes: {_blow_ups_of('dynamic')}; Burgers: "
        f"{_blow_ups_of('burgers')}"
    )


def stability_verdict() -> str:
    if _explicit_fails("steady"):
        return HOLDS
    if _explicit_fails("stiff"):
        steps = dict(along("stability", "forward_euler_same_step", "largest_step"))
        limit = steps[128.0]
        return (
            f"{PARTLY}the problem is stiff, or a learned velocity large where it is extrapolated: "
            f"with the true steady velocity forward Euler is stable up to dt = {number(limit)} on "
            "128 x 64 cells, about the step used"
        )
    return FAILS


def limit_figure() -> str:
    texts = []
    for method in ("implicit", "forward_euler_same_step", "rk4_same_step"):
        steps = along("stability", method, "largest_step")
        listed = ", ".join(f"{number(dt)} ({n:.0f})" for n, dt in steps)
        texts.append(f"{method}: {listed}")
    return "; ".join(texts)


def limit_verdict() -> str:
    implicit = along("stability", "implicit", "largest_step")
    explicit = along("stability", "rk4_same_step", "largest_step")
    falls = explicit[-1][1] < 0.5 * explicit[0][1]
    flat = implicit[-1][1] >= implicit[0][1]
    return HOLDS if falls and flat else FAILS


def black_box_figure(name: str, time: str) -> str:
    own = error(name, "implicit", time)
    when = load(name).times.known()[time]
    texts = [f"{method} {number(error(name, method, time))} %" for method in BLACK_BOXES]
    return f"t = {when:.3g}: implicit hybrid {number(own)} %, {', '.join(texts)}"


def factor(name: str, time: str) -> float:
    """The better black box's error over the hybrid's."""
    own = error(name, "implicit", time)
    others = [e for method in BLACK_BOXES if (e := error(name, method, time)) is not None]
    if own is None or not others:
        return float("nan")
    return min(others) / own


def long_horizon_figure() -> str:
    names = ("steady", "dynamic", "burgers")
    return "; ".join(f"{name}, {black_box_figure(name, 'twice_training')}" for name in names)


def long_horizon_verdict() -> str:
    factors = {name: factor(name, "twice_training") for name in ("steady", "dynamic", "burgers")}
    good = [name for name, f in factors.items() if f >= FIVE]
    texts = ", ".join(f"{name} {number(f)} times" for name, f in factors.items())
    if len(good) == len(factors):
        return f"{HOLDS}: {texts}"
    if not good:
        return f"{FAILS}: {texts}"
    at_horizon = number(factor("dynamic", "horizon"))
    return (
        f"{PARTLY}the unknown does not change in time: {texts}; of the velocity that changes "
        f"nothing is known past the last observation, and at that case's own horizon it is "
        f"{at_horizon} times"
    )


def memory_figure() -> str:
    implicit = along("memory_iterations", "implicit", "temporary_mb")
    naive = along("memory_iterations", "unrolled", "temporary_mb")
    return "; ".join(
        f"{n:.0f} iterations: {number(a)} and {number(b)} MB"
        for (n, a), (_, b) in zip(implicit, naive, strict=True)
    )


def memory_verdict() -> str:
    implicit = dict(along("memory_iterations", "implicit", "temporary_mb"))
    naive = dict(along("memory_iterations", "unrolled", "temporary_mb"))
    ratio = naive[50.0] / implicit[50.0]
    flat = max(implicit.values()) == min(implicit.values())
    return f"{HOLDS if ratio >= 10 and flat else FAILS}: {number(ratio)} times at 50"


def naive_figure() -> str:
    texts = []
    for name in ("steady", "dynamic", "burgers"):
        of = rows(name)
        a, b = (of[m].mean for m in ("implicit", "unrolled"))
        texts.append(
            f"{name}: {number(a.seconds_per_step)} and {number(b.seconds_per_step)} s, "
            f"{number(a.temporary_mb)} and {number(b.temporary_mb)} MB"
        )
    return "; ".join(texts)


def naive_verdict() -> str:
    compared = [relative_cost(name, "unrolled") for name in ("steady", "dynamic", "burgers")]
    ratios = [ratio for ratio in compared if ratio is not None]
    text = " to ".join(number(r) for r in (min(ratios), max(ratios)))
    return f"{HOLDS if min(ratios) > 1 else FAILS}: {text} times slower"


def relative_cost(name: str, method: str) -> float | None:
    """Seconds a training step over the implicit method's; None where the method did not run."""
    found = rows(name)
    means = [found[key].mean.seconds_per_step for key in ("implicit", method) if key in found]
    own, other = (*means, None)[:2]
    return None if own is None or other is None else other / own


def gradient_figure() -> str:
    found = json.loads((RESULTS / "gradient.json").read_text())
    return "; ".join(
        f"{case}: {of['central_differences']:.1e}, {of['unrolled']:.1e}"
        for case, of in found.items()
    )


def gradient_verdict() -> str:
    found = json.loads((RESULTS / "gradient.json").read_text()).values()
    exact = all(of["central_differences"] <= 1e-6 and of["unrolled"] <= 1e-9 for of in found)
    return HOLDS if exact else FAILS


def checkpointing_figure() -> str:
    schedules = json.loads((RESULTS / "memory.json").read_text())["schedules"]
    return "; ".join(
        f"{of['schedule']} {of['relative_memory']:.3f} of the memory, {of['relative_time']:.2f} of "
        "the time"
        for of in schedules
    )


def checkpointing_verdict() -> str:
    schedules = json.loads((RESULTS / "memory.json").read_text())["schedules"]
    least = min(schedules, key=lambda of: of["relative_memory"])
    return f"{HOLDS}: down to {100 * least['relative_memory']:.1f} % of the memory"


def cost_figure() -> str:
    texts = []
    for name in ("steady", "stiff", "dynamic", "burgers"):
        methods = ("rk4", "forward_euler_equal_error", "diffrax_tsit5")
        ratios = {method: relative_cost(name, method) for method in methods}
        others = [f"{method} {number(r)}" for method, r in ratios.items() if r is not None]
        texts.append(f"{name}: {', '.join(others)}")
    return "; ".join(texts)


def cost_verdict() -> str:
    faster = []
    for name in ("steady", "stiff", "dynamic", "burgers"):
        ratio = relative_cost(name, "rk4")
        faster.append((name, float("inf") if ratio is None else ratio))
    won = [name for name, ratio in faster if ratio > 1]
    if len(won) == len(faster):
        return HOLDS
    lost = ", ".join(f"{name} ({number(1 / r)} times)" for name, r in faster if r <= 1)
    return (
        f"{FAILS if not won else '**holds only for** ' + ', '.join(won) + '; '}"
        f"{': ' if not won else ''}RK4 at its stable step is faster on {lost}, and more accurate "
        "in time; implicit steps pay where stability, not accuracy, limits the step"
    )


def infiltration_figure() -> str:
    stored = json.loads((RESULTS / "infiltration.json").read_text())["runs"]
    first = stored[0]
    cells = " x ".join(map(str, first["cells"]))
    own = error("infiltration", "implicit")
    return (
        f"{cells} cells: {first['steps']} implicit steps, {first['explicit_steps']:.1e} explicit "
        f"ones; porosity of unseen thicknesses at the end {number(own)} %"
    )


def infiltration_verdict() -> str:
    stored = json.loads((RESULTS / "infiltration.json").read_text())["runs"]
    return HOLDS if min(r["explicit_steps"] / r["steps"] for r in stored) > 1e3 else FAILS


def latent_errors() -> dict[str, list[float]]:
    """Of the unknowns of fully trained runs, in percent."""
    found = {}
    for name, quantity in (
        ("demo", "velocity, steady"),
        ("dynamic", "velocity that changes"),
        ("burgers", "diffusivity"),
        ("closure", "diffusivity of pores"),
    ):
        _, latent = errors_of(name)
        errors = latent.relative_l1_percent or latent.relative_l2_percent
        found[quantity] = [percent for percent in errors.values() if percent is not None]
    return found


def latent_figure() -> str:
    return "; ".join(
        f"{name} {', '.join(f'{e:.2g} %' for e in errors)}"
        for name, errors in latent_errors().items()
    )


def latent_verdict() -> str:
    worst = max(max(errors) for errors in latent_errors().values())
    return f"{HOLDS if worst <= 10 else FAILS}: within {worst:.2g} %"


CLAIMS = (
    Claim(
        "Implicit steps stay stable where explicit recurrence blows up, at dt = 1e-2 on "
        "advection-diffusion",
        "hybrids with forward Euler and RK4 at the implicit step, forecast to twice the horizon",
        stability_figure,
        stability_verdict,
    ),
    Claim(
        "The step of an implicit method does not depend on the grid",
        "largest step that does not amplify a perturbation, with the true velocity; cells along x "
        "in brackets",
        limit_figure,
        limit_verdict,
    ),
    Claim(
        "The adjoint's gradient is exact",
        "whole training loss, float64: relative error against central differences in 20 "
        "directions, and distance to the unrolled gradient (`python validation/gradient.py`)",
        gradient_figure,
        gradient_verdict,
    ),
    Claim(
        "Memory does not depend on the solver's iterations; differentiating through the solver "
        "needs at least ten times as much at 50",
        "temporary memory of the compiled training step, adjoint and naive implicit",
        memory_figure,
        memory_verdict,
    ),
    Claim(
        "The adjoint is faster than differentiating through the solver",
        "seconds and temporary memory of a training step, adjoint and naive implicit with the "
        "fewest iterations that converge",
        naive_figure,
        naive_verdict,
    ),
    Claim(
        "Checkpointing keeps long rollouts in memory",
        "gradient of 2000 steps, relative to storing every state "
        "(`python benchmarks/checkpointing.py`)",
        checkpointing_figure,
        checkpointing_verdict,
    ),
    Claim(
        "Hybrid models stay accurate over long horizons where black boxes drift: at twice the "
        "training horizon the black boxes' error is at least 5 times the hybrid's",
        "Fourier neural operator and ConvLSTM, tuned, at the same budget",
        long_horizon_figure,
        long_horizon_verdict,
    ),
    Claim(
        "Latent physics is found that was never observed",
        "error of the unknown after full training (`python tools/make_results.py`)",
        latent_figure,
        latent_verdict,
    ),
    Claim(
        "At equal error an implicit training step is cheaper than an explicit one",
        "seconds a training step over the implicit method's; RK4 at its largest stable step is "
        "more accurate in time than the implicit stepper, forward Euler as accurate",
        cost_figure,
        cost_verdict,
    ),
    Claim(
        "Multi-physics with separated time scales needs implicit steps",
        "chemical vapor infiltration to closure (`python benchmarks/infiltration.py`)",
        infiltration_figure,
        infiltration_verdict,
    ),
)
