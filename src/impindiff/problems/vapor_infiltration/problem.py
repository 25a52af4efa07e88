"""Common part of the three inverse problems of chemical vapor infiltration."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.data import provenance
from impindiff.grid import Grid
from impindiff.problem import (
    Data,
    Observations,
    Problem,
    Scale,
    box_of,
    conditions_of,
)
from impindiff.problem.findings import Findings
from impindiff.problem.observations import index_of_times
from impindiff.problems.box import output_times
from impindiff.problems.fields_data import fields_data
from impindiff.problems.vapor_infiltration import results
from impindiff.problems.vapor_infiltration.forward import (
    ATTRIBUTES,
    AXES,
    build_grid,
    build_stepper,
    densify,
    forward_run,
    true_model,
)
from impindiff.problems.vapor_infiltration.model import VaporInfiltration, concentration
from impindiff.problems.vapor_infiltration.settings import InfiltrationSettings
from impindiff.problems.vapor_infiltration.specimens import (
    measurements,
    observation_times,
    of_specimens,
    require_specimens,
    specimen_conditions,
    states_at,
)
from impindiff.steppers import AbstractStepper, HybridModel
from impindiff.training import Fitted, TrajectoryLoss

V = TypeVar("V", bound=InfiltrationSettings)

# relative, of the equation of a stage: an error of 1e-6 in the data
_RTOL_OF_DATA = 1e-5


class InfiltrationProblem(Problem[V]):
    """A hidden property of a part, from measurements in a plant during densification.

    No measurement identifies some parameters: growth depends on the rate constant and the inlet
    concentration only by their product, which sets the unit of time; and on the rate constant and
    the pores' surface s only by theirs, unless eps0 and r_f are known, as assumed here.
    """

    labels: ClassVar[Mapping[str, str]] = {
        "gamma": "activation γ",
        "trapped_porosity_error": "largest error of the trapped porosity",
        "closure_time_error": "largest error of the time at which the pores close",
        "max_imbalance": "largest imbalance",
        "initial_porosity.png": "The initial porosity, inferred and true, and the difference",
        "trapped_porosity.png": "Trapped porosity against the condition of each specimen",
        "porosity.png": "Porosity over time, predicted and true",
        "state.png": "The state over time",
    }
    tuned: ClassVar[Mapping[str, Mapping[str, Any] | str]] = {
        "unrolled": "least squares differentiates forwards, where no iterate is stored either way, "
        "and the unrolled program had not taken its first step when it was stopped after 296 s",
        "diffrax_kvaerno5": {"physics": {"storage": 1e-6}},
        # rates of 1e-3, 3e-3, 1e-2 were tried with other noise; the smallest overfits least
        "fno": {"method": {"fit_to": "trajectory"}, "training": {"learning_rate": 1e-3}},
        "conv_lstm": {"method": {"fit_to": "trajectory"}, "training": {"learning_rate": 1e-3}},
        "local_law": "the gas, which is not observed, is what carries the law",
    }

    def initial_porosity(self, settings: V, grid: Grid) -> Float[np.ndarray, "*cells"]:
        """The true eps0 at the cells of a grid."""
        return np.full(grid.cells, settings.physics.eps0)

    @abc.abstractmethod
    def model(self, settings: V, key: PRNGKeyArray) -> VaporInfiltration:
        """The part with initial values of its unknowns."""

    def laws(self, settings: V) -> list[results.Law]:
        """The learned laws to compare with the true ones; by default none."""
        del settings
        return []

    def data(self, settings: V) -> xr.Dataset:
        """The dataset; a file has the layout of a run's data.nc."""
        dataset = super().data(settings)
        path = settings.data.path
        if path is not None:
            require_specimens(dataset, settings.physics.heat is not None, path)
        return dataset

    def configured(self, settings: V, data: xr.Dataset) -> V:
        """The settings with the part of a data file."""
        if settings.data.path is None:
            return settings
        _, upper, cells = box_of(data)
        grid = settings.grid.model_copy(update={"cells": cells, "size": upper})
        return settings.model_copy(update={"grid": grid})

    def reference(self, settings: V, until: float | None = None) -> xr.Dataset:
        """All specimens on a finer grid with shorter steps, averaged down to the model's cells."""
        observed = observation_times(settings)
        if until is None:
            until = settings.forecast.until or settings.time.end
        else:  # data that end here have no observations later
            observed = [t for t in observed if t <= until]
        times = output_times(until, settings.forecast.every, tuple(observed))
        own = specimen_conditions(settings)
        with jax.enable_x64(True):
            step = settings.time.step / settings.substeps
            fine = jnp.asarray(
                self.initial_porosity(settings, build_grid(settings.grid, settings.refine))
            )
            model = true_model(settings, settings.refine, fine, step)
            u = densify(
                _with_coarser_tolerance(settings),
                of_specimens(model, own),
                times,
                samples=len(own["phi2"]),
                step=step,
            ).u
            fields = {"porosity": u["porosity"], "gas": concentration(u)} | (
                {"temperature": u["temperature"]} if "temperature" in u else {}
            )
            averaged = {
                name: _averaged(np.moveaxis(np.asarray(values), 0, 1), settings.refine, model.grid)
                for name, values in fields.items()
            }
            eps0 = _averaged(np.asarray(fine)[None, None], settings.refine, model.grid)[0, 0]
        grid = build_grid(settings.grid)
        axes = AXES[: grid.ndim]
        first = len(settings.specimens.thickness)
        return fields_data(
            averaged,
            times,
            {axis: grid.axis_centers(i) for i, axis in enumerate(axes)},
            test=range(first, first + len(settings.specimens.test_thickness)),
            latent={"initial_porosity": eps0},
            conditions=own,
            attrs=provenance(
                f"Reference data of {self.name}",
                f"{settings.stepper.name}, dt = {step:g}, "
                f"{' x '.join(map(str, model.grid.cells))} cells, averaged down; "
                f"{settings.hidden_pores} fibres",
                settings.model_dump(mode="json"),
            ),
            variable_attrs=ATTRIBUTES,
        )

    def scale(self, settings: V, until: float | None = None) -> Scale:
        """Sizes of the reference data."""
        specimens, observed, time = settings.specimens, settings.observations, settings.time
        until = self.horizon(settings) if until is None else until
        measured = len(observed.ct_times) + observed.mass_times
        times = until / settings.forecast.every + measured + 1
        return Scale(
            cells=settings.grid.cells,
            refine=settings.refine,
            fields=2 if settings.physics.heat is None else 3,
            training=len(specimens.thickness),
            samples=len(specimens.thickness) + len(specimens.test_thickness),
            times=times,
            steps=until / time.step * settings.substeps + times,
            observed=measured,
            last=max(*observed.ct_times, observed.mass_until),
            advice={
                "refine": "lower refine",
                "samples": "take fewer specimens",
                "times": "raise forecast.every, or lower forecast.until or observations.mass_times",
                "steps": "raise time.step or lower substeps",
            },
        )

    def observations(self, settings: V, model: HybridModel, data: xr.Dataset) -> Observations:
        """Readings of the instruments, each divided by its error."""
        del model
        times = observation_times(settings)
        there = data["time"].to_numpy()
        plant = measurements(settings, data)
        exact = np.asarray(plant(states_at(data, [0, *index_of_times(there, times)])))
        # measured data already contain noise
        computed = settings.data.path is None and settings.observations.noise > 0
        values = plant.noisy(exact, settings.observations.seed) if computed else exact
        return Observations((float(there[0]), *times), plant, jnp.asarray(values))

    def for_samples(self, settings: V, model: Any, data: xr.Dataset) -> VaporInfiltration:
        """The model with phi2 and the heater's temperature of each sample."""
        del settings
        return of_specimens(model, conditions_of(data))

    def initial_state(
        self, settings: V, model: HybridModel, data: xr.Dataset | None = None
    ) -> PyTree:
        """The initial state: pores full of gas."""
        data = self.data(settings) if data is None else data
        return self.for_samples(settings, model, data).initial_state(data.sizes["sample"])

    def quantities(self, u: PyTree) -> dict[str, Any]:
        """The observed quantity: porosity."""
        return {"porosity": u["porosity"]}

    def horizon(self, settings: V) -> float:
        """End of the run."""
        return settings.forecast.until or settings.time.end

    def latent_fields(
        self, model: HybridModel, t: Float[Array, ""]
    ) -> dict[str, Float[Array, "*cells"]]:
        """Empty: the unknowns depend on the state."""
        del model, t
        return {}

    def step(self, settings: V) -> Any:
        """Fixed steps of `time.step`, or adaptive ones."""
        adaptive = settings.stepper.adaptive
        return settings.time.step if adaptive is None else adaptive.build()

    def stepper(self, settings: V) -> AbstractStepper:
        """The settings' stepper with `InfiltrationPreconditioner`."""
        return build_stepper(settings)

    def described(self, settings: V) -> xr.Dataset:
        """One true specimen; see `forward_run`."""
        grid = build_grid(settings.grid)
        eps0 = self.initial_porosity(settings, grid)
        return forward_run(settings, None if np.all(eps0 == eps0.flat[0]) else eps0)

    def description(self, settings: V, dataset: xr.Dataset) -> str:
        """Grid, times and final porosity in one line."""
        cells = [size for name, size in dataset.sizes.items() if name != "time"]
        steps = dataset.sizes["time"] - 1
        end = dataset.isel(time=-1)
        return (
            f"one specimen at {dataset.sizes['time']} times on {' x '.join(map(str, cells))} "
            f"cells; at t = {settings.time.end:g}: mean porosity "
            f"{float(end['porosity'].mean()):.4f}, at the core "
            f"{float(end['porosity'].values.flat[0]):.4f}; an explicit method would need "
            f"{dataset.attrs['explicit_steps']:.1e} steps, this run took {steps}"
        )

    def findings(self, settings: V, data: Data, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """Errors against the truth, laws, figures."""
        return results.gather(
            self.laws(settings),
            true_model(settings),
            self.model(settings, jax.random.key(settings.seed)),
            settings,
            data,
            fitted,
            loss,
        )


def _with_coarser_tolerance(settings: V) -> V:
    """The settings for the data, whose errors of discretisation are larger than any of a solve."""
    rtol = max(settings.solver.rtol, _RTOL_OF_DATA)
    solver = settings.solver.model_copy(update={"rtol": rtol})
    return settings.model_copy(update={"solver": solver})


def _averaged(field: np.ndarray, refine: int, fine: Grid) -> np.ndarray:
    """Average over blocks of `refine` cells a side: (sample, time, *fine cells)."""
    shape = [n for cells in fine.cells for n in (cells // refine, refine)]
    axes = tuple(range(3, 2 + 2 * fine.ndim, 2))
    return field.reshape(*field.shape[:2], *shape).mean(axis=axes)
