"""Forward runs: the true part, from its preform to closed pores."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data import provenance
from impindiff.data.layout import described
from impindiff.grid import Grid, Neumann
from impindiff.implicit import NewtonKrylov
from impindiff.problems.vapor_infiltration.model import Heat, VaporInfiltration, concentration
from impindiff.problems.vapor_infiltration.pores import HardCore, OverlappingFibres
from impindiff.problems.vapor_infiltration.preconditioner import InfiltrationPreconditioner
from impindiff.problems.vapor_infiltration.settings import (
    InfiltrationSettings,
    PartSettings,
    as_theta,
    steps_to,
)
from impindiff.problems.vapor_infiltration.transport import Bosanquet, Mixture, Percolation
from impindiff.rollout import Rollout, rollout
from impindiff.steppers import AbstractStepper, ImplicitStepper

AXES = ("x", "y", "z")
# pores close at about 0.1 of porosity per unit of time
_STOP_PER_TIME, _NARROWEST_STOP = 0.05, 2e-4
# relative to the terms of a difference of fluxes, in units of the precision
_ROUND_OFF = 4.0
ATTRIBUTES = {
    "porosity": {"long_name": "porosity", "scaling": "dimensionless"},
    "gas": {"long_name": "gas concentration", "scaling": "over the inlet concentration"},
    "growth": {"long_name": "radius of the coated fibre", "scaling": "over the bare fibre's"},
    "temperature": {"long_name": "temperature", "scaling": "over T0"},
    "initial_porosity": {"long_name": "initial porosity", "scaling": "dimensionless"},
    "time": {
        "long_name": "time",
        "scaling": "over t_d",
        "comment": "t_d = r_f rho_s / (nu M_s k0 C0), see from_physical",
    },
    "phi2": {"long_name": "phi^2 = k0 L^2 / (r_f D0)", "scaling": "dimensionless"},
    "heater": {"long_name": "temperature of the heater", "scaling": "over T0"},
} | {axis: {"long_name": axis, "scaling": "over L"} for axis in AXES}


def build_grid(part: PartSettings, refine: int = 1) -> Grid:
    """The grid, each cell divided into `refine` along each axis."""
    cells = tuple(n * refine for n in part.cells)
    return Grid((0.0,) * len(cells), part.upper, cells, boundary=(Neumann(),) * len(cells))


def build_heat(settings: InfiltrationSettings) -> Heat | None:
    """The true heat model; None if the part is isothermal."""
    heat = settings.physics.heat
    if heat is None:
        return None
    return Heat(
        conductivity=Mixture(*heat.conductivity),
        heater=as_theta(heat.heater, heat),
        surroundings=as_theta(heat.surroundings, heat),
        biot=heat.biot,
        capacity=heat.capacity,
        source=heat.source,
    )


def true_model(
    settings: InfiltrationSettings,
    refine: int = 1,
    initial_porosity: Any = None,
    step: float | None = None,
) -> VaporInfiltration:
    """The true part, of thickness 1.

    - `initial_porosity`: overrides the settings' eps0.
    - `step`: time step, overriding `time.step`. The reaction fades over the porosity that a closing
      pore loses in about half a step, which the step resolves.
    """
    physics = settings.physics
    percolation = Percolation(*physics.percolation, physics.floor)
    step = settings.time.step if step is None else step
    return VaporInfiltration(
        grid=build_grid(settings.grid, refine),
        pores=HardCore() if settings.hidden_pores == "hard_core" else OverlappingFibres(),
        transport=Bosanquet(percolation, physics.knudsen) if physics.knudsen else percolation,
        phi2=physics.phi2,
        initial_porosity=physics.eps0 if initial_porosity is None else initial_porosity,
        gamma=0.0 if physics.heat is None else physics.heat.gamma,
        heat=build_heat(settings),
        biot=physics.biot,
        storage=physics.storage,
        stop_width=max(_STOP_PER_TIME * step, _NARROWEST_STOP),
    )


def build_stepper(settings: InfiltrationSettings, grid: Grid | None = None) -> AbstractStepper:
    """The settings' stepper, its linear solves with `InfiltrationPreconditioner`.

    The absolute tolerance is no smaller than the round-off in div(d grad c), which grows as h^-2.

    - `grid`: overrides the settings' grid.
    """
    stepper = settings.stepper.build(settings.solver, settings.adjoint)
    if not isinstance(stepper, ImplicitStepper) or not isinstance(stepper.solver, NewtonKrylov):
        return stepper
    atol = stepper.solver.atol
    if atol is not None:
        spacing = (grid or build_grid(settings.grid)).spacing
        round_off = _ROUND_OFF * float(np.finfo(settings.precision).eps)
        atol = jnp.maximum(atol, round_off * math.fsum(h**-2 for h in spacing))
    return eqx.tree_at(
        lambda s: (s.solver.preconditioner, s.solver.atol),
        stepper,
        (InfiltrationPreconditioner(), atol),
        is_leaf=lambda leaf: leaf is None,
    )


def output_times(end: float, step: float) -> Float[np.ndarray, " times"]:
    """Times 0, step, 2 step, ... and `end`, with a shorter last step if needed."""
    count = steps_to(end, step)
    return np.append(np.arange(count) * step, end)


def densify(
    settings: InfiltrationSettings,
    model: VaporInfiltration,
    times: Float[np.ndarray, " times"],
    *,
    samples: int | None = None,
    step: float | None = None,
) -> Rollout:
    """The part's history at the given times, by the settings' stepper."""
    return rollout(
        model,
        model.initial_state(samples),
        times,
        stepper=build_stepper(settings, model.grid),
        dt=settings.time.step if step is None else step,
        batch_ndim=0 if samples is None else 1,
    )


def forward_run(settings: InfiltrationSettings, initial_porosity: Any = None) -> xr.Dataset:
    """Simulate one true specimen of thickness 1, at every step to `time.end`.

    Variables `porosity`, `gas` (the concentration c), `growth` (the radius of coated fibres) and,
    where it varies, `temperature`, over (`time`, `x`[, `y`[, `z`]]).
    """
    times = output_times(settings.time.end, settings.time.step)
    with jax.enable_x64(True):
        model = true_model(settings, initial_porosity=initial_porosity)
        u = densify(settings, model, times).u
        fields = {
            "porosity": u["porosity"],
            "gas": concentration(u),
            "growth": model.pores.radius(u["porosity"], jnp.asarray(model.initial_porosity)),
        } | ({"temperature": u["temperature"]} if "temperature" in u else {})
        steps = explicit_steps(model, settings.time.end)
    axes = AXES[: model.grid.ndim]
    coordinates = {"time": times} | {
        axis: model.grid.axis_centers(i) for i, axis in enumerate(axes)
    }
    return xr.Dataset(
        {
            name: (("time", *axes), np.asarray(values), ATTRIBUTES[name])
            for name, values in fields.items()
        },
        {
            name: (name, values, described(name, name, ATTRIBUTES))
            for name, values in coordinates.items()
        },
        attrs=provenance(
            "Chemical vapor infiltration of a part",
            f"{settings.stepper.name}, dt = {settings.time.step:g}",
            settings.model_dump(mode="json"),
        )
        | {"explicit_steps": steps},
    )


def explicit_steps(model: VaporInfiltration, end: float, storage: float = 1e-6) -> float:
    r"""Number of forward Euler steps needed to reach `end`.

    Forward Euler is stable for steps up to delta eps / (2 d sum_i h_i^{-2}), the diffusion time of
    the gas through a cell, which is shortest in the preform.

    - `storage`: delta, for a quasi-steady model, whose gas has no storage.
    """
    initial = jnp.asarray(model.initial_porosity)
    surface = model.pores.surface(initial, initial)
    d = model.transport(initial, surface)
    rate = 2 * d * math.fsum(h**-2 for h in model.grid.spacing)
    longest = (model.storage or storage) * initial / rate
    return float(jnp.max(end / longest))
