"""What the three inverse experiments of chemical vapor infiltration share."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, PRNGKeyArray, PyTree

from impindiff.cases.box import output_times
from impindiff.cases.case import Case, Data, Scale
from impindiff.cases.vapor_infiltration import results
from impindiff.cases.vapor_infiltration.forward import (
    ATTRIBUTES,
    AXES,
    build_grid,
    build_stepper,
    densify,
    forward_run,
    true_model,
)
from impindiff.cases.vapor_infiltration.model import VaporInfiltration, concentration
from impindiff.cases.vapor_infiltration.settings import InfiltrationSettings
from impindiff.cases.vapor_infiltration.specimens import (
    Specimens,
    from_file,
    measurements,
    observation_times,
    specimen_conditions,
    states_at,
)
from impindiff.findings import Findings
from impindiff.grid import Grid
from impindiff.observations import Trajectories, provenance
from impindiff.steppers import AbstractStepper, HybridModel
from impindiff.training import Fitted, GaussianPrior, TrajectoryLoss

V = TypeVar("V", bound=InfiltrationSettings)


class InfiltrationCase(Case[V]):
    """A hidden property of a part, from what a plant measures while the part densifies.

    What these experiments cannot identify, whatever they measure: growth depends on the rate
    constant and the inlet concentration only by their product, which sets the unit of time; and
    the rate constant and the pores' surface s only by theirs, unless eps0 and r_f are known, which
    is assumed here.
    """

    def initial_porosity(self, settings: V, grid: Grid) -> Float[np.ndarray, "*cells"]:
        """The true eps0 at the cells of a grid."""
        return np.full(grid.cells, settings.physics.eps0)

    @abc.abstractmethod
    def model(self, settings: V, key: PRNGKeyArray) -> VaporInfiltration:
        """See `Case.model`."""

    def laws(self, settings: V) -> list[results.Law]:
        """The learned laws to be compared with the true ones; none by default."""
        del settings
        return []

    def prior(self, settings: V) -> GaussianPrior | None:
        """What is believed of the learned laws before anything is measured; nothing by default."""
        del settings
        return None

    def reference(self, settings: V, until: float | None = None) -> Trajectories:
        """All specimens on a finer grid with shorter steps, averaged down to the model's cells."""
        observed = observation_times(settings)
        if until is None:
            until = settings.forecast.until or settings.time.end
        else:  # a forecast's own end: it has no need of the observations beyond
            observed = [t for t in observed if t <= until]
        times = output_times(until, settings.forecast.every, tuple(observed))
        own = specimen_conditions(settings)
        specimens = Specimens(own["phi2"], own.get("heater"))
        with jax.enable_x64(True):
            step = settings.time.step / settings.substeps
            fine = jnp.asarray(
                self.initial_porosity(settings, build_grid(settings.grid, settings.refine))
            )
            model = true_model(settings, settings.refine, fine, step)
            prepared, _ = specimens(model)
            u = densify(
                settings,
                prepared,
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
        return Trajectories(
            field=averaged.pop("porosity"),
            times=times,
            coordinates={axis: grid.axis_centers(i) for i, axis in enumerate(axes)},
            variable="porosity",
            latent={"initial_porosity": eps0},
            attrs=provenance(
                f"Reference data of {self.name}",
                f"{settings.stepper.name}, dt = {step:g}, "
                f"{' x '.join(map(str, model.grid.cells))} cells, averaged down; "
                f"{settings.hidden_pores} fibres",
                settings.model_dump(mode="json"),
            ),
            variable_attrs=ATTRIBUTES,
            others=averaged,
            conditions=own,
        )

    def scale(self, settings: V, until: float | None = None) -> Scale:
        """See `Case.scale`."""
        specimens, observed, time = settings.specimens, settings.observations, settings.time
        until = self.horizon(settings) if until is None else until
        measured = len(observed.ct_times) + observed.mass_times
        times = until / settings.forecast.every + measured + 1
        return Scale(
            cells=settings.grid.cells,
            refine=settings.refine,
            fields=2 if settings.physics.heat is None else 3,
            training=len(specimens.thickness),
            samples=len(specimens.thickness) + len(specimens.held_out_thickness),
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

    def held_out(self, settings: V) -> list[int]:
        """The specimens after those of training."""
        first = len(settings.specimens.thickness)
        return list(range(first, first + len(settings.specimens.held_out_thickness)))

    def read(self, settings: V, path: Path) -> tuple[Trajectories, V]:
        """A file of the layout that a run stores as data.nc: the same variables, one's own data."""
        data = from_file(path, settings.data.variable, settings.physics.heat is not None)
        grid = settings.grid.model_copy(update={"cells": data.cells, "size": data.upper})
        stored = settings.data.model_copy(update={"path": path.absolute()})
        return data, settings.model_copy(update={"grid": grid, "data": stored})

    def read_back(self, path: Path) -> Trajectories:
        """See `Case.read_back`."""
        return from_file(path, None, heated=None)

    def observed_times(self, settings: V) -> tuple[float, ...]:
        """The interruptions, and every weighing."""
        return tuple(observation_times(settings))

    def loss(self, settings: V, data: Data) -> TrajectoryLoss:
        """See `Case.loss`: the squared distance to all measurements, each by its error."""
        trajectories = data.trajectories
        times = observation_times(settings)
        indices = [0, *trajectories.index_of_times(times)]
        plant = measurements(settings, trajectories, data.training)
        exact = np.asarray(plant(states_at(trajectories, indices, data.training)))
        # one's own data have their own noise
        computed = settings.data.path is None and settings.observations.noise > 0
        values = plant.noisy(exact, settings.observations.seed) if computed else exact
        prepare = Specimens.of(trajectories, data.training)
        return TrajectoryLoss(
            # only its shape counts: `prepare` gives the model's own
            u0=prepare(true_model(settings))[1],
            times=(float(trajectories.times[0]), *times),
            values=jnp.asarray(values),
            observe=plant,
            stepper=self.stepper(settings),
            dt=self.step(settings),
            checkpointing=settings.gradient.build_checkpointing(),
            prepare=prepare,
            prior=self.prior(settings),
        )

    def prepared(
        self,
        settings: V,
        model: HybridModel,
        trajectories: Trajectories,
        samples: Sequence[int],
    ) -> tuple[HybridModel, PyTree]:
        """See `Case.prepared`."""
        del settings
        assert isinstance(model, VaporInfiltration)
        return Specimens.of(trajectories, samples)(model)

    def on_data(
        self, settings: V, trajectories: Trajectories, u: PyTree
    ) -> Float[np.ndarray, "time sample *space"]:
        """The porosity."""
        del settings, trajectories
        return np.asarray(u["porosity"])

    def horizon(self, settings: V) -> float:
        """The end of the run."""
        return settings.forecast.until or settings.time.end

    def conditions(self, settings: V) -> dict[str, float]:
        """phi2 and, with heat, the heater's theta."""
        heated = settings.physics.heat is not None
        return {"phi2": settings.physics.phi2} | ({"heater": 1.0} if heated else {})

    def as_state(self, field: Any) -> PyTree:
        """See `Case.as_state`; for the instruments that see the porosity alone."""
        return {"porosity": field}

    def latent_fields(
        self, model: HybridModel, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """None: what is unknown depends on the state."""
        del model, times
        return {}

    def step(self, settings: V) -> Any:
        """`time.step`, or steps by their error."""
        adaptive = settings.stepper.adaptive
        return settings.time.step if adaptive is None else adaptive.build()

    def stepper(self, settings: V) -> AbstractStepper:
        """See `Case.stepper`."""
        return build_stepper(settings)

    def dataset(self, settings: V) -> xr.Dataset:
        """One specimen as it truly is; see `forward_run`."""
        grid = build_grid(settings.grid)
        eps0 = self.initial_porosity(settings, grid)
        return forward_run(settings, None if np.all(eps0 == eps0.flat[0]) else eps0)

    def describe(self, settings: V, dataset: xr.Dataset) -> str:
        """See `Case.describe`."""
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
        """See `Case.findings`."""
        return results.gather(
            self.laws(settings),
            true_model(settings),
            self.model(settings, jax.random.key(settings.seed)),
            settings,
            data,
            fitted,
            loss,
        )


def _averaged(field: np.ndarray, refine: int, fine: Grid) -> np.ndarray:
    """(sample, time, *fine cells) -> means over blocks of `refine` cells a side."""
    shape = [n for cells in fine.cells for n in (cells // refine, refine)]
    axes = tuple(range(3, 2 + 2 * fine.ndim, 2))
    return field.reshape(*field.shape[:2], *shape).mean(axis=axes)
