"""What any optimiser is to the training loop: ours, one of Optax's or one of Optimistix's."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from impindiff.rollout import Rollout
from impindiff.training.levenberg_marquardt import LevenbergMarquardt
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.optimistix_method import OptimistixMethod, advance, start

if TYPE_CHECKING:
    from impindiff.training.state import Job, TrainingState

Optimizer = optax.GradientTransformation | LevenbergMarquardt | OptimistixMethod
_SEARCHES = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)


class Update(NamedTuple):
    """What an algorithm makes of a training state.

    - `parameters`, `state`: to go on from; `finished`: whether that is the end.
    - `seen`: the parameters that `loss` and `rollout` are of, after so many updates more than the
      state's, `ahead`.
    - `adjoint_residual`: of the backward pass; zeros where there is none.
    - `gradient_norm`: None where the algorithm knows of no gradient.
    - `taken`: false for a trial that was rejected.
    - `broken`: whether the algorithm says that it cannot go on; None if it never does.
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
    """An optimiser, a training step at a time.

    - `rejects_failures`: whether a trial whose solves fail is rejected, so that nothing is lost.
    """

    rejects_failures: ClassVar[bool] = False

    @property
    def is_forward(self) -> bool:
        """Whether it differentiates forwards, where no adjoint is solved for."""
        return False

    def check(self, parameters: PyTree[Any]) -> None:
        """Raise `InputError` for parameters that the algorithm does not take; it takes all."""
        del parameters

    @abc.abstractmethod
    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """Its state before the first step. Raises `InputError` for a loss that it does not take."""

    @abc.abstractmethod
    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """One step."""

    def has_rate(self, state: PyTree[Any]) -> bool:
        """Whether a learning rate sets how far a step goes."""
        del state
        return False

    def linearization(self, state: PyTree[Any], loss: TrajectoryLoss) -> tuple[Array, Array] | None:
        """(misfit, its Jacobian) at the parameters of the state, if known; None."""
        del state, loss
        return None


class Gradient(Algorithm):
    """A transformation of Optax's, of the gradient by adjoint solves."""

    optimizer: optax.GradientTransformation

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """See `Algorithm.start`."""
        del loss, static
        return self.optimizer.init(parameters)

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """See `Algorithm.advance`."""

        def value(parameters, probe):
            return job.loss(job.model(parameters), probe)

        probe = job.loss.probe(job.model(state.parameters))
        differentiate = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
        (loss, result), (gradient, adjoint_residual) = differentiate(state.parameters, probe)
        # Optax's own arithmetic mixes integers and floats, which JAX's strict mode refuses
        with jax.numpy_dtype_promotion("standard"):
            updates, after = optax.with_extra_args_support(self.optimizer).update(
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
        """See `Algorithm.has_rate`; a search along a line finds that itself."""
        parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, _SEARCHES))
        return not any(isinstance(part, _SEARCHES) for part in parts)


class LeastSquares(Algorithm):
    """`LevenbergMarquardt`, whose state is a `Point`."""

    rejects_failures = True

    method: LevenbergMarquardt

    @property
    def is_forward(self) -> bool:
        """See `Algorithm.is_forward`."""
        return True

    def check(self, parameters: PyTree[Any]) -> None:
        """See `Algorithm.check`."""
        self.method.check(parameters)

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """See `Algorithm.start`."""
        return self.method.start(parameters, loss, static)

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """See `Algorithm.advance`; forward mode, so that there is no adjoint solve."""
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

    def linearization(self, state: PyTree[Any], loss: TrajectoryLoss) -> tuple[Array, Array]:
        """See `Algorithm.linearization`."""
        counts = loss.residuals_that_count(len(state.misfit))
        return state.misfit[counts], state.jacobian[counts]


class Optimistix(Algorithm):
    """A minimiser or least-squares solver of Optimistix's."""

    method: OptimistixMethod

    @property
    def is_forward(self) -> bool:
        """See `Algorithm.is_forward`; least squares need the Jacobian."""
        return isinstance(self.method, optx.AbstractLeastSquaresSolver)

    def start(self, parameters: PyTree[Any], loss: TrajectoryLoss, static: Any) -> PyTree[Any]:
        """See `Algorithm.start`."""
        return start(self.method, parameters, loss, static)

    def advance(self, state: "TrainingState", job: "Job") -> Update:
        """See `Algorithm.advance`."""
        after = advance(self.method, state.optimizer, state.parameters, job.loss, job.fixed())
        # once more at the point to go on from: methods differ in what they tell of it
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


def algorithm_of(optimizer: Optimizer) -> Algorithm:
    """The optimiser as the training loop takes it."""
    if isinstance(optimizer, LevenbergMarquardt):
        return LeastSquares(optimizer)
    if isinstance(optimizer, OptimistixMethod):
        return Optimistix(optimizer)
    return Gradient(optimizer)
