"""What a worked case is: a model with something unknown, data, and a default configuration."""

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.cases.settings import CaseSettings
from impindiff.errors import InputError, SolverError
from impindiff.findings import Findings
from impindiff.observations import Trajectories
from impindiff.rollout import failure_of, rollout
from impindiff.steppers import AbstractStepper, HybridModel
from impindiff.training import Fitted, TrajectoryLoss

S = TypeVar("S", bound=CaseSettings)


class Data(NamedTuple):
    """The trajectories and which of them training may see."""

    trajectories: Trajectories
    training: list[int]
    held_out: list[int]


class Scale(NamedTuple):
    """How large the computations of a configuration are; numbers that may be beyond any machine.

    - `cells`: of the model's grid; `refine`: into how many the reference divides each, an axis.
    - `fields`: numbers that a cell has in a state and in what is hidden.
    - `training`, `samples`: trajectories that are trained on, and all of the reference.
    - `times`, `steps`: of the reference. `observed`, `last`: times that training sees, and the end.
    - `modes`: waves of the random initial fields.
    - `advice`: by the names above, how to change the keys that make the reference large.
    """

    cells: tuple[int, ...]
    refine: int
    fields: int
    training: int
    samples: int
    times: float
    steps: float
    observed: int
    last: float
    advice: Mapping[str, str]
    modes: float = 0.0


class Case(abc.ABC, Generic[S]):
    """A case is stateless: all that varies is in its settings.

    - `name`: on the command line.
    - `summary`: the process, in a few words.
    - `infers`: what is unknown, and from what it is found.
    - `latent_figure`: name of the figure of the latent fields.
    - `settings`: the configuration's model; its defaults are the case's.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    infers: ClassVar[str]
    latent_figure: ClassVar[str] = "latent"
    settings: type[S]

    @abc.abstractmethod
    def reference(self, settings: S, until: float | None = None) -> Trajectories:
        """Reference data made by an explicit method at a small step, with the true latent fields.

        Training samples come first, held-out ones after. `until` ends the time range in
        place of the settings.
        """

    @abc.abstractmethod
    def held_out(self, settings: S) -> list[int]:
        """Which samples of the reference data training never sees."""

    @abc.abstractmethod
    def read(self, settings: S, path: Path) -> tuple[Trajectories, S]:
        """The user's own data, and the settings with what the file determines filled in.

        Raises `InputError` for a file that does not fit.
        """

    @abc.abstractmethod
    def loss(self, settings: S, data: Data) -> TrajectoryLoss:
        """The misfit to the observations that the settings ask for.

        Raises `InputError` for observations that the data do not have.
        """

    @abc.abstractmethod
    def model(self, settings: S, key: PRNGKeyArray) -> Any:
        """What is trained: a `HybridModel` with fresh neural parts, or what stands in its place."""

    @abc.abstractmethod
    def latent_fields(
        self, model: Any, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """The latent fields found, by the names that data and metrics use.

        (*space), or (time, *space) at the given times for a field that changes in time.
        """

    @abc.abstractmethod
    def scale(self, settings: S, until: float | None = None) -> Scale:
        """The sizes that the settings ask for, known before anything is made.

        - `until`: the end of the reference data, in place of the settings'.
        """

    def identified(self, model: Any) -> dict[str, Float[Array, ""]]:
        """The unknown numbers of the model, by the names that metrics use; none by default."""
        del model
        return {}

    def truths(self, settings: S) -> dict[str, float]:
        """Those of the numbers `identified` whose true value is known."""
        del settings
        return {}

    def observed_times(self, settings: S) -> tuple[float, ...]:
        """Times at which whole fields are observed; none where observations are scattered."""
        del settings
        return ()

    def conditions(self, settings: S) -> dict[str, float]:
        """What differs from sample to sample beside the initial state, with its typical size.

        By the names of `Trajectories.conditions`; nothing by default.
        """
        del settings
        return {}

    def horizon(self, settings: S) -> float:
        """How far the case forecasts, by default `forecast.until`."""
        if settings.forecast.until is None:
            raise InputError("forecast.until: is not given and this case has no default for it")
        return settings.forecast.until

    def initial_states(
        self, settings: S, trajectories: Trajectories
    ) -> Float[np.ndarray, "sample *cells"]:
        """The first state of each trajectory on the model's grid, by default the data's."""
        del settings
        return trajectories.field[:, 0]

    def prepared(
        self,
        settings: S,
        model: Any,
        trajectories: Trajectories,
        samples: Sequence[int],
    ) -> tuple[Any, PyTree]:
        """The model with what is each of these samples' own in it, and their first states."""
        return model, self.initial_states(settings, trajectories)[list(samples)]

    def on_data(
        self, settings: S, trajectories: Trajectories, u: PyTree
    ) -> Float[np.ndarray, "time sample *space"]:
        """The observed field at the places of the data, by default the state itself.

        - `u`: states of the model, (time, sample, *cells) or a pytree of such.
        """
        del settings, trajectories
        return np.asarray(u)

    def forecast(
        self,
        settings: S,
        model: Any,
        trajectories: Trajectories,
        samples: Sequence[int],
        times: Float[np.ndarray, " times"],
    ) -> tuple[Float[np.ndarray, "time sample *space"], SolverError | None]:
        """The observed field of these samples at `times`, the first of which is the initial one.

        And what failed, if something did.
        """
        prepared, u0 = self.prepared(settings, model, trajectories, samples)
        stepper, dt = self.stepper(settings), self.step(settings)
        result = rollout(prepared, u0, times, stepper=stepper, dt=dt, throw=False)
        found = self.on_data(settings, trajectories, jax.tree.map(np.asarray, result.u))
        return found, failure_of(result)

    def as_state(
        self, field: Float[Array, "time sample *space"]
    ) -> PyTree[Float[Array, "time sample *space"]]:
        """The observed field as the loss's measuring operator takes it, by default itself."""
        return field

    def true_model(self, settings: S) -> HybridModel | None:
        """The model with the true latent fields, on the training grid; None if it is not to be had.

        It tells how long a step may be, without a model being trained.
        """
        del settings
        return None

    def step(self, settings: S) -> Any:
        """What `rollout` takes as its `dt`."""
        return settings.stepper.build_step()

    def stepper(self, settings: S) -> AbstractStepper:
        """The stepper with solver, gradient rule and what preconditioner the case has."""
        return settings.stepper.build(settings.solver, settings.gradient)

    def dataset(self, settings: S) -> xr.Dataset:
        """What `impindiff data` writes, by default the reference data in the layout it reads."""
        return self.reference(settings).to_dataset()

    def describe(self, settings: S, dataset: xr.Dataset) -> str:
        """One line about it."""
        cells = [size for name, size in dataset.sizes.items() if name not in ("sample", "time")]
        return (
            f"{dataset.sizes['sample']} samples at {dataset.sizes['time']} times on "
            f"{' x '.join(map(str, cells))} cells; held out: {self.held_out(settings)}"
        )

    def read_back(self, path: Path) -> Trajectories:
        """The reference data that a run has stored."""
        return Trajectories.from_netcdf(path)

    def findings(self, settings: S, data: Data, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """What there is to tell and to show beside forecast and latent fields; nothing by default.

        Called once, after training.
        """
        del settings, data, fitted, loss
        return Findings()
