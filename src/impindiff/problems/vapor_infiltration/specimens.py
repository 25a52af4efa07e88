"""The specimens of an experiment: their conditions and measurements."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data.file_errors import of_file
from impindiff.errors import InputError
from impindiff.observations import BlockAverages, Measurement, Measurements, PartAverage, Probes
from impindiff.observations.checks import require_finite, same_places
from impindiff.problem import box_of
from impindiff.problem.observations import index_of_times
from impindiff.problem.samples import AXES
from impindiff.problems.vapor_infiltration.model import VaporInfiltration
from impindiff.problems.vapor_infiltration.settings import InfiltrationSettings
from impindiff.steppers import PerSample

STATE = ("porosity", "gas", "temperature")
CT, MASS, THERMOCOUPLES = "CT", "mass gain", "thermocouples"
# standard deviation assumed where noise is 0, for weighting only
_NOMINAL_NOISE = 0.02


def of_specimens(
    model: VaporInfiltration, conditions: Mapping[str, Float[np.ndarray, " specimens"]]
) -> VaporInfiltration:
    """The model with phi2 and, unless isothermal, the heater's theta of each specimen."""
    model = eqx.tree_at(lambda m: m.phi2, model, PerSample(conditions["phi2"]))
    if "heater" in conditions:
        model = eqx.tree_at(lambda m: m.heat.heater, model, PerSample(conditions["heater"]))
    return model


def specimen_conditions(
    settings: InfiltrationSettings,
) -> dict[str, Float[np.ndarray, " specimens"]]:
    """phi2 and, with heat, theta of the heater: training specimens first, then the test set."""
    physics, specimens = settings.physics, settings.specimens
    thickness = np.array([*specimens.thickness, *specimens.test_thickness])
    found = {"phi2": physics.phi2 * thickness**2}
    heat = physics.heat
    if heat is not None:
        own = (heat.heater,)
        kelvin = [
            *(specimens.heater or own * len(specimens.thickness)),
            *(specimens.test_heater or own * len(specimens.test_thickness)),
        ]
        found["heater"] = np.array(kelvin) / heat.reference
    return found


def weighing_times(settings: InfiltrationSettings) -> Float[np.ndarray, " weighings"]:
    """Evenly spaced times, the last at `mass_until`."""
    observed = settings.observations
    return np.linspace(0.0, observed.mass_until, observed.mass_times + 1)[1:]


def observation_times(settings: InfiltrationSettings) -> list[float]:
    """All times with a measurement, in order, each once.

    **Raises:** `InputError` for one after the end of the run. The settings do not refuse it: a
    forward run, which measures nothing, may end earlier.
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


def measurements(settings: InfiltrationSettings, data: xr.Dataset) -> Measurements:
    """The plant's measurements, from states at the start and at `observation_times`.

    CT: averages over blocks of cells, at the interruptions, with an error relative to eps0. Mass
    gain: the decrease of the mean porosity since the preform (nominally eps0) at each weighing,
    with an error relative to the specimens' mean gain until then. Thermocouples, in K, at each
    weighing.

    - `data`: of the specimens measured.
    """
    observed, physics = settings.observations, settings.physics
    noise = observed.noise or _NOMINAL_NOISE
    times = data["time"].to_numpy()
    every = np.array([times[0], *observation_times(settings)])

    def indices(times: Any) -> list[int]:
        return [int(np.argmin(np.abs(every - t))) for t in times]

    eps0 = physics.eps0
    weighings = weighing_times(settings)
    porosity = data["porosity"].to_numpy()
    weighed = porosity[:, index_of_times(times, weighings.tolist())]
    gains = eps0 - weighed.reshape(*weighed.shape[:2], -1).mean(axis=(0, 2))
    cells, grid = porosity.shape[2:], settings.grid
    blocks = BlockAverages(cells, (observed.ct_block,) * len(cells))
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
            PartAverage(cells),
            indices(weighings),
            noise * np.abs(gains),
        ),
    ]
    heat = physics.heat
    if heat is not None and observed.thermocouples:
        places = np.asarray(observed.thermocouples)
        parts.append(
            Measurement(
                THERMOCOUPLES,
                lambda u: heat.reference * u["temperature"],
                Probes((0.0,) * len(cells), grid.upper, cells, places),
                indices(weighings),
                observed.thermocouple_noise,
            )
        )
    return Measurements(parts)


class _InWindow(eqx.Module):
    """The values of `BlockAverages` whose blocks lie in the region seen by CT."""

    blocks: BlockAverages
    indices: np.ndarray

    @property
    def count(self) -> int:
        """Number of visible blocks."""
        return len(self.indices)

    def __call__(self, u: Any) -> Any:
        """Read the visible blocks, (..., *cells) -> (..., count)."""
        return self.blocks(u)[..., self.indices]


def _seen(settings: InfiltrationSettings, data: xr.Dataset, blocks: BlockAverages) -> np.ndarray:
    centres = blocks.positions([data[axis].to_numpy() for axis in axes_of(data)])
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


def states_at(data: xr.Dataset, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """The data's fields in a rollout's form, (times, samples, *cells)."""
    return {
        name: np.moveaxis(data[name].to_numpy(), 1, 0)[list(indices)]
        for name in STATE
        if name in data
    }


def axes_of(data: xr.Dataset) -> list[str]:
    """The axes of the part."""
    return [axis for axis in AXES if axis in data.dims]


def require_specimens(data: xr.Dataset, heated: bool, path: Path) -> None:
    """Refuse data without the layout of a run's data.nc.

    **Raises:** `InputError` for missing variables, for values that are not finite, and for a part
    whose planes of symmetry are not at 0.
    """
    more = ("temperature", "heater") if heated else ()
    for name in ("porosity", "gas", "phi2", *more):
        if name not in data:
            names = ", ".join(map(str, data.data_vars))
            raise InputError(f"{path}: has no variable '{name}'; it has {names}")
    with of_file(path):
        for name in data.data_vars:
            require_finite(str(name), data[name].to_numpy(), tuple(map(str, data[name].dims)))
        lower, upper, cells = box_of(data)
    sizes = (np.asarray(upper) - np.asarray(lower)) / np.asarray(cells)
    if not same_places(np.asarray(lower), 0.0, sizes).all():
        raise InputError(
            f"{path}: the part's lower corner is {list(lower)}; expected 0 along each axis, "
            "its planes of symmetry"
        )
