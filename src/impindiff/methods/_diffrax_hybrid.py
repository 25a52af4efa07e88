"""The hybrid model solved by Diffrax."""

import dataclasses

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from impindiff.errors import InputError
from impindiff.implicit import Outcome
from impindiff.methods._method import Hybrid, Simulate
from impindiff.methods._trajectory import as_rollout
from impindiff.rollout import Rollout, depends_on_time
from impindiff.rollout.samples import of_sample
from impindiff.settings.methods import DiffraxSettings
from impindiff.steppers import HybridModel
from impindiff.steppers.mass import has_algebraic, rate

_SOLVERS = {"tsit5": diffrax.Tsit5, "kvaerno5": diffrax.Kvaerno5}


class Integrator(eqx.Module):
    """Integrate a model by Diffrax with a given solver, tolerances and adjoint."""

    solver: str = eqx.field(static=True)
    rtol: float
    atol: float
    max_steps: int = eqx.field(static=True)
    forward_mode: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, settings: DiffraxSettings) -> "Integrator":
        """The integrator of a configuration."""
        chosen = settings
        return cls(chosen.solver, chosen.rtol, chosen.atol, chosen.max_steps)

    def forwards(self) -> "Integrator":
        """The same for derivatives in forward mode (see `TrajectoryLoss.forwards`)."""
        return dataclasses.replace(self, forward_mode=True)

    def __call__(self, model: HybridModel, u0: PyTree[Array], times: tuple[float, ...]) -> Rollout:
        """Integrate to the form of `rollout`, with one entry of statistics per interval of `times`.

        Every sample has its own steps; with an implicit solver, samples follow one after the other.
        A steady latent field is evaluated once, outside the solver; a varying one at each
        evaluation of the tendency, whose times are not known in advance.

        **Raises:** `InputError` for a model with algebraic components, which is no ODE.
        """
        first = jax.tree.map(lambda x: x[0], u0)
        if has_algebraic(model, first):
            raise InputError(
                "method.name: diffrax integrates ordinary differential equations, and a component "
                "of this model has mass 0; give it mass, or choose another method"
            )
        steady = not depends_on_time(model, jnp.asarray(times[0]))
        latent = model.latent(jnp.asarray(times[0]))
        controller = diffrax.PIDController(rtol=self.rtol, atol=self.atol)
        adjoint = (
            diffrax.ForwardMode() if self.forward_mode else diffrax.RecursiveCheckpointAdjoint()
        )

        def solve(index: Array) -> diffrax.Solution:
            here = of_sample(latent, index[None])

            def field(t, u, args):
                del args
                return rate(
                    model, t, u, here if steady else of_sample(model.latent(t), index[None])
                )

            return diffrax.diffeqsolve(
                diffrax.ODETerm(field),
                _SOLVERS[self.solver](),
                times[0],
                times[-1],
                None,
                jax.tree.map(lambda x: x[index], u0),
                saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
                stepsize_controller=controller,
                adjoint=adjoint,
                max_steps=self.max_steps,
                throw=False,
            )

        samples = jnp.arange(len(jax.tree.leaves(u0)[0]))
        if self.solver == "kvaerno5":
            # One after the other: its dense solves in a batch wait in XLA's thread pool for that
            # same pool, and as many at once as there are threads deadlock.
            found = jax.lax.map(solve, samples)
        else:
            found = jax.vmap(solve)(samples)
        u = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), found.ys)
        steps = found.stats["num_steps"]
        # Diffrax leaves infinity at times that were not reached
        reached = _finite(u)[1:]
        solved = reached.at[-1].set(reached[-1] & (found.result == diffrax.RESULTS.successful))
        intervals = len(times) - 1
        return as_rollout(
            u,
            times,
            solved,
            Outcome.step_limit,
            jnp.broadcast_to(-(-steps // intervals), solved.shape),
        )


def _finite(u: PyTree[Array]) -> Array:
    """Flags of the states, (time, sample, ...), that are finite throughout."""
    return jnp.stack(
        [jnp.all(jnp.isfinite(x), axis=tuple(range(2, x.ndim))) for x in jax.tree.leaves(u)]
    ).all(axis=0)


class DiffraxHybrid(Hybrid):
    """The problem's hybrid model, advanced by Diffrax."""

    def simulate(self) -> Simulate:
        """The Diffrax integrator."""
        return Integrator.of(self.settings.method)
