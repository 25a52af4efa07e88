"""Results of the training loop: per step, in the history, and at the end."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from impindiff.support.html_tables import html_table
from impindiff.training._compiled_step import CompiledStep
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._state import Job, StepReport, Totals, TrainingState


class Progress(NamedTuple):
    """Progress after a step, for displays.

    - `test`: the test error in percent; None where it was not evaluated.
    - `saved`: True if the state of this step is on disk.
    """

    step: int
    loss: float
    test: float | None
    validation: float | None = None
    saved: bool = False


M = TypeVar("M", bound=eqx.Module)


@dataclasses.dataclass(frozen=True)
class Fitted(Generic[M]):
    """The trained model and the cost of training.

    - `seconds`: total, with compilation, without the evaluations for the history.
    - `compile_seconds`, `temporary_mb`: see `CompiledStep`.
    - `seconds_per_step`: median over the steps of this session, without the logging between them;
      NaN if there was none.
    - `final_loss`: of the last step.
    - `linearization`: misfit and its Jacobian at the model's parameters, if available from the
      optimiser.
    - `validation_loss`: of the model if the best weights are kept, else of the last step; None
      without validation.
    - `best_step`: number of updates of the best weights; None if they are not kept.
    - `stopped_early`: True if patience ended training.
    - `converged`: True if the optimiser's own criterion ended training, for every member of an
      ensemble; False if training ended before; None for an optimiser without one.
    - `frozen`: the parts that were not trained.
    - `regularised`: the loss with the prior and the errors' size that `EmpiricalBayes` chose, which
      `laplace` takes with errors "given"; None for other optimisers and an ensemble.
    - `determined`: then, the number of parameters that the data determine: the trace of A^{-1} J^T
      J / s^2, with the prior's share left out.
    - `member_losses`: of an ensemble, the final loss of each; the other losses are means,
      `best_step` is the latest.
    """

    model: M
    steps: int
    seconds: float
    compile_seconds: float
    seconds_per_step: float
    temporary_mb: float | None
    final_loss: float
    totals: Totals
    linearization: tuple[Array, Array] | None = None
    validation_loss: float | None = None
    best_step: int | None = None
    stopped_early: bool = False
    converged: bool | None = None
    frozen: tuple[str, ...] = ()
    member_losses: tuple[float, ...] | None = None
    regularised: TrajectoryLoss | None = None
    determined: float | None = None

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("model", type(self.model).__name__),
            ("steps", self.steps),
            ("final loss", f"{self.final_loss:.6g}"),
            ("seconds", f"{self.seconds:.1f}, of which compilation {self.compile_seconds:.1f}"),
            ("seconds a step", f"{self.seconds_per_step:.3g}"),
        ]
        if self.validation_loss is not None:
            rows.append(("validation loss", f"{self.validation_loss:.6g}"))
        if self.best_step is not None:
            rows.append(("best weights after step", self.best_step))
        if self.member_losses is not None:
            rows.append(
                ("losses of the members", ", ".join(f"{x:.4g}" for x in self.member_losses))
            )
        return html_table("Fitted", rows)


def record(state: TrainingState, report: StepReport) -> dict[str, Any]:
    """A line of the history."""
    validation = {} if state.validation is None else {"validation_loss": number(state.validation)}
    of_members = {} if state.loss.ndim == 0 else {"member_losses": state.loss.tolist()}
    return {
        "step": int(np.max(state.step)),
        "loss": float(np.mean(state.loss)),
        **of_members,
        **validation,
        "gradient_norm": None
        if report.gradient_norm is None
        else float(np.mean(report.gradient_norm)),
        "linear_iterations_mean": float(
            np.mean(np.asarray(report.rollout.stats.linear_iterations))
        ),
        "adjoint_residual_max": float(np.max(np.asarray(report.adjoint_residual))),
        "seconds": float(np.max(state.seconds)),
    }


def number(value: Array | None) -> float | None:
    """Mean over the members of an ensemble; None for missing values and those not finite."""
    mean = math.nan if value is None else float(np.mean(value))
    return mean if math.isfinite(mean) else None


def fitted(
    job: Job,
    state: TrainingState,
    programs: Sequence[CompiledStep],
    durations: Sequence[float],
    freeze: Sequence[str],
    members: int | None,
) -> Fitted[Any]:
    """The result of a training, after `programs` were used."""
    best = state.best
    parameters, validation = state.parameters, number(state.validation)
    best_step = None
    if best is not None and job.keep_best and bool(jnp.all(jnp.isfinite(best.loss))):
        parameters, best_step = best.parameters, int(np.max(best.step))
        validation = None if job.validation is None else number(best.loss)
    linearization = None
    # known at the last point only
    at_last = members is None and eqx.tree_equal(parameters, state.parameters)
    if at_last:
        linearization = job.algorithm.linearization(state.optimizer, job.loss)
    regularised = None
    if members is None:
        regularised = job.algorithm.regularised(state.optimizer, job.loss)
    determined = None if regularised is None else float(state.optimizer.determined)
    stalled = np.asarray(False if best is None else best.stalled)
    converged = job.algorithm.converged(state)
    known = [p.temporary_mb for p in programs if p.temporary_mb is not None]
    return Fitted(
        model=job.model(parameters),
        steps=int(np.max(state.step)),
        seconds=float(np.max(state.seconds)),
        compile_seconds=sum((program.compile_seconds for program in programs), 0.0),
        seconds_per_step=float(np.median(durations)) if durations else math.nan,
        temporary_mb=max(known, default=None),
        final_loss=float(np.mean(state.loss)),
        totals=state.totals.of_all(),
        linearization=linearization,
        validation_loss=validation,
        best_step=best_step,
        stopped_early=bool(np.all(stalled)),
        converged=None if converged is None else bool(np.all(converged & ~stalled)),
        member_losses=None if members is None else tuple(np.asarray(state.loss).tolist()),
        frozen=tuple(freeze),
        regularised=regularised,
        determined=determined,
    )
