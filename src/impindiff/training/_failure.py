"""Error messages for failed training steps."""

import numpy as np

from impindiff.errors import FailureCode
from impindiff.rollout import failure_of
from impindiff.training._resources import TrainingError
from impindiff.training._state import StepReport, TrainingState, member

_RATE = "a smaller learning rate (training.learning_rate) may help, or training.clip"


def require_success(
    step: int,
    state: TrainingState,
    report: StepReport,
    members: int | None = None,
    *,
    has_rate: bool = False,
) -> None:
    """Raise `TrainingError` for a failed solve, and a loss or gradient that is not finite.

    A rejected trial may fail, since the previous state is kept, if its loss is finite.

    - `members`: of an ensemble, along the leading axis; the error names the first that failed.
    - `has_rate`: True if the optimiser has a learning rate. One that is too large is the likely
      reason for failures after the first step, which used the initial model.
    """
    for i in range(1 if members is None else members):
        one, of_one = (state, report) if members is None else (member(state, i), member(report, i))
        try:
            _require_success(step, one, of_one)
        except TrainingError as error:
            name = "" if members is None else f"member {i}: "
            advice = f"; the steps before it succeeded: {_RATE}" if has_rate and step > 1 else ""
            raise TrainingError(f"{name}{error}{advice}", code=error.code) from None


def _require_success(step: int, state: TrainingState, report: StepReport) -> None:
    if not bool(report.taken) and np.isfinite(float(state.loss)):
        return
    failure = failure_of(report.rollout)
    if failure is not None:
        raise TrainingError(
            f"training step {step}: the rollout failed at {failure}", code=failure.code
        )
    if not np.isfinite(float(state.loss)):
        raise TrainingError(
            f"training step {step}: the loss is {float(state.loss)} although every solve "
            + ("converged" if step > 1 else "converged; look for a NaN in the observations"),
            code=FailureCode.not_finite,
        )
    if report.broken is not None and bool(report.broken):
        raise TrainingError(
            f"training step {step}: the Optimistix method cannot go on from a loss of "
            f"{float(state.loss):.4g}; try another, or levenberg_marquardt",
            code=FailureCode.optimizer_stopped,
        )
    if report.gradient_norm is not None and not np.isfinite(float(report.gradient_norm)):
        residual = np.asarray(report.adjoint_residual)
        rollout_step, *sample = np.unravel_index(np.argmax(residual), residual.shape)
        of_sample = f", sample {', '.join(map(str, sample))}" if sample else ""
        raise TrainingError(
            f"training step {step}: the gradient is not finite; the adjoint solve of rollout step "
            f"{rollout_step + 1} of {residual.shape[0]}{of_sample}, left a relative residual "
            f"of {residual.max():.3g}; try a larger adjoint.max_iterations or adjoint.rtol, or a "
            "smaller step",
            code=FailureCode.not_finite,
        )
