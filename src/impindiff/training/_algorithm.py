"""Interface of optimisers to the training loop: ours, Optax's and Optimistix's."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from impindiff.rollout import Rollout
from impindiff.training._empirical_bayes import EmpiricalBayes
from impindiff.training._levenberg_marquardt import LevenbergMarquardt
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._optimistix_method import OptimistixMethod, advance, start
from impindiff.training._optimizers import WithNumbers

if TYPE_CHECKING:
    from impindiff.training._state import Job, TrainingState

Optimizer = (
    optax.GradientTransformation
    | WithNumbers
    | LevenbergMarquardt
    | EmpiricalBayes
    | OptimistixMethod
)
_SEARCHES = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)


class Update(NamedTuple):
    """The result of one step of an algorithm.

    - `parameters`, `state`: to continue with; `finished`: True at the end.
    - `seen`: the parameters that `loss` and `rollout` belong to, `ahead` updates after the state's.
    - `adjoint_residual`: of the backward pass; zeros where there is none.
    - `gradient_norm`: None for algorithms without a gradient.
    - `taken`: False for a rejected trial.
    - `broken`: True if the algorithm cannot continue; None if it never reports so.
    """

    parameters: PyTree[Any]
    state: PyTree[Any]
    finished: Array
    seen: PyTree[Any]
    ahead: int
    loss: Float[Array, ""]
    rollout: Rollout
    adjoint_residual: Array
    gradient_norm: Array | None
    taken: Array
    broken: Array | None = None


class Algorithm(eqx.Module):
    """An optimiser, executed one training step at a time.

    - `rejects_failures`: True if a trial whose solves fail is rejected, so that nothing is lost.
    """

    rejects_failures: ClassVar[bool] = False

    @property
    def is_forward(self) -> bool:
        """True if it differentiates in forward mode, without adjoint solves."""
        return False

    def check(self, parameters: PyTree[Any]) -> None:
        """Raise `InputError` for unsuitable parameters; by default none are."""
        del parameters

    @abc.abstractmethod
    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """State before the first step. Raises `InputError` for an unsuitable loss."""

    @abc.abstractmethod
    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """One step."""

    def has_rate(self, state: PyTree[Any]) -> bool:
        """True if a learning rate sets the size of a step."""
        del state
        return False

    def converged(self, state: "TrainingState") -> Array | None:
        """True if its own criterion ended training; None for an algorithm without a criterion."""
        del state
        return None

    def linearization(self, state: PyTree[Any], loss: TrajectoryLoss) -> tuple[Array, Array] | None:
        """(misfit, its Jacobian) at the parameters of the state, if known; else None."""
        del state, loss
        return None

    def regularised(self, state: PyTree[Any], loss: TrajectoryLoss) -> TrajectoryLoss | None:
        """The loss with the prior and the errors that the data chose; None if they chose none."""
        del state, loss
        return None


class Gradient(Algorithm):
    """An Optax transformation of the gradient by adjoint solves."""

    optimizer: optax.GradientTransformation | WithNumbers

    @property
    def _transformation(self) -> optax.GradientTransformation:
        chosen = self.optimizer
        return chosen.transformation() if isinstance(chosen, WithNumbers) else chosen

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """Initial state of the transformation."""
        del loss, static
        return self._transformation.init(parameters)

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """One update by the gradient."""

        def value(parameters, probe):
            return job.loss(job.model(parameters), probe)

        probe = job.loss.probe(job.model(state.parameters))
        differentiate = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
        (loss, result), (gradient, adjoint_residual) = differentiate(state.parameters, probe)
        # Optax's arithmetic mixes integers and floats, which JAX's strict mode refuses
        with jax.numpy_dtype_promotion("standard"):
            updates, after = optax.with_extra_args_support(self._transformation).update(
                gradient,
                state.optimizer,
                state.parameters,
                value=loss,
                grad=gradient,
                value_fn=lambda parameters: value(parameters, probe)[0],
            )
        return Update(
            parameters=optax.apply_updates(state.parameters, updates),
            state=after,
            finished=state.finished,
            seen=state.parameters,
            ahead=0,
            loss=loss,
            rollout=result,
            adjoint_residual=adjoint_residual,
            gradient_norm=optax.tree.norm(gradient),
            taken=jnp.asarray(True),
        )

    def has_rate(self, state: PyTree[Any]) -> bool:
        """True unless a line search sets the size of a step."""
        parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, _SEARCHES))
        return not any(isinstance(part, _SEARCHES) for part in parts)


class ByJacobian(Algorithm):
    """A method with the whole Jacobian, by forward mode, of few parameters."""

    method: eqx.AbstractVar[Any]

    @property
    def is_forward(self) -> bool:
        """Always True: its Jacobian is by forward mode."""
        return True

    def check(self, parameters: PyTree[Any]) -> None:
        """Refuse too many parameters."""
        self.method.check(parameters)

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """The method's initial state."""
        return self.method.start(parameters, loss, static)


class LeastSquares(ByJacobian):
    """The algorithm of `LevenbergMarquardt`, whose state is a `Point`."""

    rejects_failures = True

    method: LevenbergMarquardt

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """One trial, in forward mode, without adjoint solves."""
        trial = self.method.advance(state.optimizer, job.fixed(), job.loss)
        return Update(
            parameters=trial.point.parameters,
            state=trial.point,
            finished=trial.finished,
            seen=trial.point.parameters,
            ahead=1,
            loss=trial.point.loss,
            rollout=trial.rollout,
            adjoint_residual=jnp.zeros_like(trial.rollout.stats.residual),
            gradient_norm=trial.gradient_norm,
            taken=trial.taken,
        )

    def converged(self, state: "TrainingState") -> Array:
        """True if it ended before the damping was at its limit."""
        return state.finished & ~self.method.gave_up(state.optimizer)

    def linearization(self, state: PyTree[Any], loss: TrajectoryLoss) -> tuple[Array, Array]:
        """Misfit and Jacobian at the point."""
        counts = loss.residuals_that_count(len(state.misfit))
        return state.misfit[counts], state.jacobian[counts]


class Evidence(ByJacobian):
    """The algorithm of `EmpiricalBayes`, whose state is a `Choice`."""

    method: EmpiricalBayes

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """One step, in forward mode, without adjoint solves."""
        step = self.method.advance(state.optimizer, job.fixed(), job.loss)
        return Update(
            parameters=step.choice.parameters,
            state=step.choice,
            finished=step.finished,
            seen=step.choice.parameters,
            ahead=1,
            loss=step.loss,
            rollout=step.rollout,
            adjoint_residual=jnp.zeros_like(step.rollout.stats.residual),
            gradient_norm=step.gradient_norm,
            taken=step.taken,
        )

    def converged(self, state: "TrainingState") -> Array:
        """True if a step was short against the posterior's standard deviation."""
        return state.finished & state.optimizer.settled

    def regularised(self, state: PyTree[Any], loss: TrajectoryLoss) -> TrajectoryLoss:
        """The loss with the chosen prior, in units of the estimated errors."""
        return self.method.regularised(state, loss)


class Optimistix(Algorithm):
    """A minimiser or least-squares solver of Optimistix."""

    method: OptimistixMethod

    @property
    def is_forward(self) -> bool:
        """True for least-squares solvers, which need the Jacobian."""
        return isinstance(self.method, optx.AbstractLeastSquaresSolver)

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """Arrays of the method's initial state."""
        return start(self.method, parameters, loss, static)

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """One step of the method."""
        after = advance(self.method, state.optimizer, state.parameters, job.loss, job.fixed())
        # Re-evaluate at the accepted point: Optimistix methods report different quantities there.
        model = job.model(after.parameters)
        loss, result = job.loss(model, job.loss.probe(model))
        return Update(
            parameters=after.parameters,
            state=after.arrays,
            finished=after.finished,
            seen=after.parameters,
            ahead=1,
            loss=loss,
            rollout=result,
            adjoint_residual=jnp.zeros_like(result.stats.residual),
            gradient_norm=None,
            taken=jnp.asarray(True),
            broken=after.broken,
        )

    def converged(self, state: "TrainingState") -> Array:
        """True if the method terminated by its tolerances."""
        return state.finished


def algorithm_of(optimizer: Optimizer) -> Algorithm:
    """The algorithm of an optimiser."""
    if isinstance(optimizer, LevenbergMarquardt):
        return LeastSquares(optimizer)
    if isinstance(optimizer, EmpiricalBayes):
        return Evidence(optimizer)
    if isinstance(optimizer, OptimistixMethod):
        return Optimistix(optimizer)
    return Gradient(optimizer)
