"""The same hybrid model in Diffrax's solvers, as a user of Diffrax would have it."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.baselines.trajectory import as_rollout
from impindiff.cases import Case, Data
from impindiff.cases.method_settings import DiffraxSettings
from impindiff.errors import FailureCode, InputError, SolverError
from impindiff.implicit import Outcome
from impindiff.observations import Trajectories
from impindiff.operators.inflow import products_by_fluxes
from impindiff.rollout import Rollout, depends_on_time
from impindiff.rollout.samples import of_sample, sample_axes
from impindiff.steppers import HybridModel
from impindiff.steppers.mass import has_algebraic, rate
from impindiff.training import LevenbergMarquardt, TrajectoryLoss

_SOLVERS = {"tsit5": diffrax.Tsit5, "kvaerno5": diffrax.Kvaerno5}


class Integrator(eqx.Module):
    """Solver, tolerances and adjoint, and with them `trajectory`, what Diffrax makes of a model."""

    solver: str = eqx.field(static=True)
    rtol: float
    atol: float
    max_steps: int = eqx.field(static=True)
    forward_mode: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, settings: DiffraxSettings, *, forward_mode: bool = False) -> "Integrator":
        """That of a configuration."""
        chosen = settings
        return cls(chosen.solver, chosen.rtol, chosen.atol, chosen.max_steps, forward_mode)

    def trajectory(
        self, model: HybridModel, u0: PyTree[Array], times: tuple[float, ...]
    ) -> Rollout:
        """As `rollout` gives it, with one entry of the statistics for each interval of `times`.

        Every sample has its own steps. A steady latent field is evaluated once, outside the solver;
        one that changes at each evaluation of the tendency, since where these will be is not known.
        Raises `InputError` for a model with algebraic components, which are no ODE.
        """
        first = jax.tree.map(lambda x: x[0], u0)
        if has_algebraic(model, first):
            raise InputError(
                "method.name: diffrax integrates ordinary differential equations, and a component "
                "of this model has no inertia (mass 0); give it some, such as physics.storage=1e-6"
            )
        steady = not depends_on_time(model, jnp.asarray(times[0]))
        latent = model.latent(jnp.asarray(times[0]))
        controller = diffrax.PIDController(rtol=self.rtol, atol=self.atol)
        adjoint = (
            diffrax.ForwardMode() if self.forward_mode else diffrax.RecursiveCheckpointAdjoint()
        )

        def solve(u0, latent):
            here = of_sample(latent)

            def field(t, u, args):
                del args
                # of the two, Kvaerno5 has dense solves
                with products_by_fluxes() if self.solver == "kvaerno5" else nullcontext():
                    return rate(model, t, u, here if steady else model.latent(t))

            return diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                _SOLVERS[self.solver](),
                times[0],
                times[-1],
                None,
                u0,
                saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
                stepsize_controller=controller,
                adjoint=adjoint,
                max_steps=self.max_steps,
                throw=False,
            )

        found = jax.vmap(solve, (0, sample_axes(latent) if steady else None))(u0, latent)
        u = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), found.ys)
        steps = found.stats["num_steps"]
        solved = (found.result == diffrax.RESULTS.successful) & _finite(u)
        intervals = len(times) - 1
        shape = (intervals, steps.shape[0])
        return as_rollout(
            u,
            times,
            jnp.broadcast_to(solved, shape),
            Outcome.step_limit,
            jnp.broadcast_to(-(-steps // intervals), shape),
        )


def _finite(u: PyTree[Array]) -> Array:
    """Of (time, sample, ...): which samples are finite throughout."""
    return jnp.stack(
        [jnp.all(jnp.isfinite(x), axis=(0, *range(2, x.ndim))) for x in jax.tree.leaves(u)]
    ).all(axis=0)


class DiffraxLoss(TrajectoryLoss):
    """`TrajectoryLoss` with the trajectory of an `Integrator`."""

    integrator: Integrator = eqx.field(kw_only=True)

    def trajectory(self, model: Any, probe: Float[Array, "steps samples"] | None) -> Rollout:
        """See `TrajectoryLoss.trajectory`."""
        del probe
        prepared, u0 = (model, self.u0) if self.prepare is None else self.prepare(model)
        return self.integrator.trajectory(prepared, u0, self.times)


class DiffraxHybrid(Case):
    """To be mixed into a case: Diffrax advances its hybrid model."""

    def _integrator(self, settings: Any) -> Integrator:
        forward_mode = isinstance(settings.training.build(), LevenbergMarquardt)
        return Integrator.of(settings.method, forward_mode=forward_mode)

    def loss(self, settings: Any, data: Data) -> TrajectoryLoss:
        """See `Case.loss`."""
        of_case = super().loss(settings, data)
        fields = {name: getattr(of_case, name) for name in of_case.__dataclass_fields__}
        return DiffraxLoss(**fields, integrator=self._integrator(settings))

    def forecast(
        self,
        settings: Any,
        model: Any,
        trajectories: Trajectories,
        samples: Sequence[int],
        times: Float[np.ndarray, " times"],
    ) -> tuple[Float[np.ndarray, "time sample *space"], SolverError | None]:
        """See `Case.forecast`."""
        prepared, u0 = self.prepared(settings, model, trajectories, samples)
        integrator = self._integrator(settings)
        u0 = jax.tree.map(jnp.asarray, u0)
        found = eqx.filter_jit(integrator.trajectory)(prepared, u0, tuple(times.tolist()))
        solved = np.asarray(found.stats.converged).all(axis=0)
        failure = None
        if not solved.all():
            failed = np.flatnonzero(~solved).tolist()
            failure = SolverError(
                f"Diffrax's {settings.method.solver} did not reach t = {times[-1]:g} in "
                f"{settings.method.max_steps} steps, or met a number that is not finite; samples "
                f"that failed: {failed}",
                code=FailureCode.step_limit,
            )
        return self.on_data(settings, trajectories, jax.tree.map(np.asarray, found.u)), failure
