"""What a worked case is: a model with something unknown, data, and a default configuration."""

import abc
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.cases.settings import CaseSettings
from impindiff.observations import Trajectories
from impindiff.steppers import HybridModel
from impindiff.training import TrajectoryLoss

S = TypeVar("S", bound=CaseSettings)


class Data(NamedTuple):
    """The trajectories and which of them training may see."""

    trajectories: Trajectories
    training: list[int]
    held_out: list[int]


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
    def model(self, settings: S, key: PRNGKeyArray) -> HybridModel:
        """The hybrid model with fresh neural parts."""

    @abc.abstractmethod
    def latent_fields(
        self, model: HybridModel, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """The latent fields found, by the names that data and metrics use.

        (*space), or (time, *space) at the given times for a field that changes in time.
        """

    def identified(self, model: HybridModel) -> dict[str, Float[Array, ""]]:
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

    def initial_states(
        self, settings: S, trajectories: Trajectories
    ) -> Float[np.ndarray, "sample *cells"]:
        """The first state of each trajectory on the model's grid, by default the data's."""
        del settings
        return trajectories.field[:, 0]

    def on_data(
        self, settings: S, trajectories: Trajectories, u: Float[np.ndarray, "time sample *cells"]
    ) -> Float[np.ndarray, "time sample *space"]:
        """Fields of the model at the places of the data, by default the same."""
        del settings, trajectories
        return u
