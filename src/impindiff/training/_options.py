"""Options and callbacks of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from impindiff.errors import InputError
from impindiff.training._fitted import Progress
from impindiff.training._loss import TrajectoryLoss


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of `fit` that determine the result, and how often it is written.

    - `steps`: maximum number of training steps.
    - `log_every`: steps between lines of `history.jsonl`; the first and the last step are always
      logged. Not every step by default: a line may cost a forecast (`Callbacks.evaluate`).
    - `save_every`: steps between training states on disk; the last state is always saved, also on
      interruption. Not every step by default: a state is several times as large as the parameters.
    - `validation`: the loss on a validation set (see `split`), from the same rollouts.
    - `patience`: stop after so many steps without a decrease of the validation loss (of the
      training loss without a validation set); None: never.
    - `keep_best`: return the parameters with the smallest such loss instead of the last ones; None:
      if there is a validation set. Those after the last update of an Optax transformation are not
      considered, since their loss is not known.
    - `freeze`: paths of parts of the model that are not trained (see `partition`).
    - `horizon`: a curriculum of pairs (training steps, fraction of the observed times): for so many
      steps the rollout ends after this fraction of the times, and after the last pair it covers
      all. Each pair is compiled separately. `patience` and `keep_best` apply after the last pair.
    """

    steps: int
    log_every: int = 25
    save_every: int = 100
    validation: TrajectoryLoss | None = None
    patience: int | None = None
    keep_best: bool | None = None
    freeze: Sequence[str] = ()
    horizon: Sequence[tuple[int, float]] = ()

    def __post_init__(self):
        """Refuse counts below one."""
        for name in ("steps", "log_every", "save_every", "patience"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InputError(f"FitOptions: {name} = {count}; expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Functions that `fit` calls during training; they do not affect the result.

    - `evaluate`: returns the test error of a model in percent (None if not finite), for the
      history.
    - `identified`: returns estimated parameters of a model by name, for the history.
    - `show`: called after each step.
    - `log`: called with each line of the history.
    - `say`: called with messages: on the preconditioner that "auto" stands for, on a damaged
      training state, which is skipped, and by `fit_restarts` on the result of each start.
    """

    evaluate: Callable[[Any], float | None] | None = None
    identified: Callable[[Any], dict[str, float]] | None = None
    show: Callable[[Progress], object] = lambda progress: None
    log: Callable[[dict[str, Any]], object] = lambda record: None
    say: Callable[[str], object] = lambda line: None
