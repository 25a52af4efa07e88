"""The specimens of an experiment: what is each one's own, and what a plant measures of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, PyTree

from impindiff.cases.vapor_infiltration.model import VaporInfiltration
from impindiff.cases.vapor_infiltration.settings import InfiltrationSettings
from impindiff.errors import InputError
from impindiff.observations import (
    BlockAverages,
    Measurement,
    Measurements,
    PartAverage,
    Probes,
    Trajectories,
    open_netcdf,
)
from impindiff.observations.checks import same_places
from impindiff.steppers import PerSample

CT, MASS, THERMOCOUPLES = "CT", "mass gain", "thermocouples"
# Of instruments that are told to be exact: what they weigh by.
_NOMINAL_NOISE = 0.02


class Specimens(eqx.Module):
    """Takes a model to that of these specimens and their first states.

    - `phi2`, `heater`: one value each; no heater for isothermal specimens.
    """

    phi2: Float[np.ndarray, " specimens"]
    heater: Float[np.ndarray, " specimens"] | None = None

    @classmethod
    def of(cls, trajectories: Trajectories, samples: Sequence[int]) -> "Specimens":
        """Those of the data with these indices."""
        chosen = list(samples)
        heater = trajectories.conditions.get("heater")
        return cls(
            trajectories.conditions["phi2"][chosen], None if heater is None else heater[chosen]
        )

    def __call__(self, model: VaporInfiltration) -> tuple[VaporInfiltration, PyTree]:
        """(the model with a value per specimen, their initial states)."""
        model = eqx.tree_at(lambda m: m.phi2, model, PerSample(self.phi2))
        if self.heater is not None:
            model = eqx.tree_at(lambda m: m.heat.heater, model, PerSample(self.heater))
        return model, model.initial_state(len(self.phi2))


def specimen_conditions(
    settings: InfiltrationSettings,
) -> dict[str, Float[np.ndarray, " specimens"]]:
    """phi2 and, with heat, theta of the heater: those of training first, then those held out."""
    physics, specimens = settings.physics, settings.specimens
    thickness = np.array([*specimens.thickness, *specimens.held_out_thickness])
    found = {"phi2": physics.phi2 * thickness**2}
    heat = physics.heat
    if heat is not None:
        own = (heat.heater,)
        kelvin = [
            *(specimens.heater or own * len(specimens.thickness)),
            *(specimens.held_out_heater or own * len(specimens.held_out_thickness)),
        ]
        found["heater"] = np.array(kelvin) / heat.reference
    return found


def weighing_times(settings: InfiltrationSettings) -> Float[np.ndarray, " weighings"]:
    """Evenly spaced, the last at `mass_until`."""
    observed = settings.observations
    return np.linspace(0.0, observed.mass_until, observed.mass_times + 1)[1:]


def observation_times(settings: InfiltrationSettings) -> list[float]:
    """All times at which something is measured, in order, each once.

    Raises `InputError` for one after the end of the run. (Only here, where measurements are asked
    for: a forward run may end earlier.)
    """
    observed, end = settings.observations, settings.time.end
    for key, last in (("ct_times", max(observed.ct_times)), ("mass_until", observed.mass_until)):
        if last > end + 1e-9:
            raise InputError(
                f"observations.{key}: {last:g} is after the end of the run, time.end = {end:g}"
            )
    merged = np.sort([*observed.ct_times, *weighing_times(settings)])
    apart = np.append(True, np.diff(merged) > 1e-9 * merged[-1])
    return merged[apart].tolist()


def measurements(
    settings: InfiltrationSettings, data: Trajectories, samples: Sequence[int] | None = None
) -> Measurements:
    """What the plant measures, of states at the start and at `observation_times`.

    CT: averages over blocks of cells, at the interruptions, with an error that is a part of eps0.
    Mass gain: the mean porosity lost since the preform, nominally of porosity eps0, at each
    weighing, with an error that is a part of what the specimens gain on average until then.
    Thermocouples, in K, at each weighing.

    - `samples`: the specimens measured; None: all.
    """
    observed, physics = settings.observations, settings.physics
    noise = observed.noise or _NOMINAL_NOISE
    every = np.array([data.times[0], *observation_times(settings)])

    def indices(times: Any) -> list[int]:
        return [int(np.argmin(np.abs(every - t))) for t in times]

    eps0 = physics.eps0
    weighings = weighing_times(settings)
    measured = data.field if samples is None else data.field[list(samples)]
    weighed = measured[:, data.index_of_times(weighings.tolist())]
    gains = eps0 - weighed.reshape(*weighed.shape[:2], -1).mean(axis=(0, 2))
    blocks = BlockAverages(data.cells, (observed.ct_block,) * len(data.cells))
    parts = [
        Measurement(
            CT,
            lambda u: u["porosity"],
            _InWindow(blocks, _seen(settings, data, blocks)),
            indices(observed.ct_times),
            noise * eps0,
        ),
        Measurement(
            MASS,
            lambda u: eps0 - u["porosity"],
            PartAverage(data.cells),
            indices(weighings),
            noise * np.abs(gains),
        ),
    ]
    heat = physics.heat
    if heat is not None and observed.thermocouples:
        parts.append(
            Measurement(
                THERMOCOUPLES,
                lambda u: heat.reference * u["temperature"],
                Probes(data.lower, data.upper, data.cells, np.asarray(observed.thermocouples)),
                indices(weighings),
                observed.thermocouple_noise,
            )
        )
    return Measurements(parts)


class _InWindow(eqx.Module):
    """The values of `BlockAverages` whose blocks lie in the region that CT sees."""

    blocks: BlockAverages
    indices: np.ndarray

    @property
    def count(self) -> int:
        """How many blocks are seen."""
        return len(self.indices)

    def __call__(self, u: Any) -> Any:
        """(..., *cells) -> (..., count)."""
        return self.blocks(u)[..., self.indices]


def _seen(settings: InfiltrationSettings, data: Trajectories, blocks: BlockAverages) -> np.ndarray:
    centres = blocks.positions(list(data.coordinates.values()))
    window = settings.observations.ct_window
    if window is None:
        return np.arange(len(centres))
    lower, upper = map(np.asarray, window)
    inside = np.all((centres >= lower) & (centres <= upper), axis=-1)
    if not inside.any():
        raise InputError(
            f"observations.ct_window: no block of {settings.observations.ct_block} cells a side "
            f"has its centre between {lower.tolist()} and {upper.tolist()}; widen the window"
        )
    return np.flatnonzero(inside)


def states_at(data: Trajectories, indices: Sequence[int], samples: Sequence[int]) -> PyTree:
    """The data's fields as a rollout would give them, (times, samples, *cells)."""
    fields = {data.variable: data.field, **data.others}
    chosen = np.ix_(list(samples), list(indices))
    return {name: np.moveaxis(values[chosen], 1, 0) for name, values in fields.items()}


def from_file(path: Path, variable: str | None, heated: bool | None) -> Trajectories:
    """Data of the layout that a run stores as data.nc.

    - `heated`: whether there are temperatures; None: if the file has some.

    Raises `InputError` for a file that does not fit, naming what is missing, and for a part whose
    planes of symmetry are not at 0.
    """
    dataset = open_netcdf(path)
    heated = "temperature" in dataset if heated is None else heated
    try:
        data = Trajectories.from_dataset(
            dataset,
            variable=variable or "porosity",
            space=tuple(axis for axis in ("x", "y", "z") if axis in dataset.sizes) or ("x",),
            latent=("initial_porosity",),
            others=("gas", "temperature") if heated else ("gas",),
            conditions=("phi2", "heater") if heated else ("phi2",),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not same_places(np.asarray(data.lower), 0.0, data.cell_size).all():
        raise InputError(
            f"{path}: the part's lower corner is {list(data.lower)}; expected 0 along each axis, "
            "its planes of symmetry"
        )
    return data
