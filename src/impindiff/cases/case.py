"""What a worked case is: a model with something unknown, data, and a default configuration."""

import abc
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.cases.settings import CaseSettings
from impindiff.observations import Trajectories
from impindiff.steppers import HybridModel

S = TypeVar("S", bound=CaseSettings)


class Case(abc.ABC, Generic[S]):
    """A case is stateless: all that varies is in its settings.

    - `name`: on the command line.
    - `summary`: the process, in a few words.
    - `infers`: what is unknown, and from what it is found.
    - `settings`: the configuration's model; its defaults are the case's.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    infers: ClassVar[str]
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
    def model(self, settings: S, key: PRNGKeyArray) -> HybridModel:
        """The hybrid model with fresh neural parts."""

    @abc.abstractmethod
    def latent_fields(self, model: HybridModel) -> dict[str, Float[np.ndarray | Array, "..."]]:
        """The latent fields found, by the names that data and metrics use."""
