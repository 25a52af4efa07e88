"""Steady states of a model."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from impindiff.errors import SolverError
from impindiff.implicit import AbstractAdjoint, ImplicitAdjoint, NewtonKrylov, Solver, Status
from impindiff.implicit.pytree import require_floating, result_dtype
from impindiff.preconditioners import asks_for_choice, choose_preconditioner, with_choice
from impindiff.rollout._method import Method
from impindiff.rollout._result import failed_solve, leaf_names
from impindiff.rollout._well_posed import with_well_posedness
from impindiff.rollout.samples import find_batch_ndim, of_sample, over_batch, sample_axes
from impindiff.steppers import HybridModel, PseudoTime, SteadyState
from impindiff.steppers.mass import require_masses
from impindiff.support.html_tables import html_table

# the default rtol is this power of eps
_RTOL = 2 / 3


class Steady(eqx.Module):
    """The result of `steady`.

    - `u`: the steady state, a pytree like the guess.
    - `status`: of its solve, a `Status` whose arrays have the shape of the batch: `converged`,
      `iterations` (those in pseudo-time included), `linear_iterations`, `residual`, `outcome`.
    - `pseudo_steps`: number of pseudo-time steps, repeated ones included; 0 without `pseudo_time`.
    - `t`: its time.
    - `method`: description of the method, for advice when a solve fails.
    """

    u: PyTree[Float[Array, "..."]]
    status: Status
    pseudo_steps: Int[Array, "*batch"]
    t: Float[Array, ""]
    method: Method | None = eqx.field(static=True, default=None)

    def raise_for_failure(self) -> None:
        """Raise `SolverError` for the first sample whose solve failed, if any.

        The message names the sample, the field and its residual. Only outside `jax.jit`.
        """
        failure = self._failure()
        if failure is not None:
            raise failure

    def _failure(self) -> SolverError | None:
        place = f"steady state at t = {float(self.t):.6g}"
        return failed_solve(self.status, leaf_names(self.u), self.method, lambda _: place)

    def _repr_html_(self) -> str:
        leaves = zip(leaf_names(self.u), jax.tree.leaves(self.u), strict=True)
        rows = [(f"u{name.removeprefix('u')}", f"{x.shape} {x.dtype}") for name, x in leaves]
        steps = ("pseudo-time steps", str(int(jnp.sum(self.pseudo_steps))))
        failure = ("failure", str(self._failure() or "none"))
        return html_table("Steady", [*rows, *self.status.rows(), steps, failure])


def steady(
    model: HybridModel,
    guess: PyTree[ArrayLike],
    t: float | Float[Array, ""] = 0.0,
    *,
    solver: Solver | None = None,
    adjoint: AbstractAdjoint | None = None,
    pseudo_time: PseudoTime | None = None,
    check_unique: bool = True,
    throw: bool = True,
    batch_ndim: int | None = None,
    probe: Float[Array, "*batch"] | None = None,
) -> Steady:
    """Find the steady state of a model: u with model.tendency(t, u, model.latent(t)) = 0.

    ```python
    found = ipd.steady(model, jnp.zeros(model.grid.cells))
    found.u, found.status.iterations, found.status.residual
    ```

    Newton's method alone converges from a guess that is near enough, of a linear equation from any.
    Otherwise `pseudo_time=ipd.PseudoTime()` follows the process to its end, or start from the
    steady state of a similar model (continuation in a parameter): `steady(model, steady(easier,
    guess).u)`.

    **Arguments:**

    - `guess`: one array or a pytree of arrays; leading axes, before those of the grid, are a batch
      of independent samples. The gradient with respect to it is zero.
    - `t`: the time at which coefficients and boundary values are taken.
    - `solver`: any that `root` takes, with any preconditioner that takes a step's equation, or
      "auto" for one chosen as in `rollout`; its `rtol` refers to the residual of the guess.
      Default: `NewtonKrylov` with an rtol of eps^(2/3), 4e-11 in float64 and 2e-5 in float32, since
      a steady equation amplifies a residual more than a step does.
    - `adjoint`: default `ImplicitAdjoint()`: the exact gradient by one solve with the transposed
      Jacobian.
    - `pseudo_time`: see above, and `PseudoTime`; None: Newton's method alone.
    - `check_unique`: see `SteadyState`.
    - `throw`: raise when a solve fails, as in `rollout`; with `throw=False` look at `status`.
    - `batch_ndim`, `probe`: as in `rollout`; the probe has the shape of the batch.

    **Returns:** a `Steady`, differentiable in `model` and `t`, to any order.

    **Raises:** `InputError` for masses or shapes that do not fit; `SolverError`, or Equinox's
    runtime error inside `jax.jit`, for a failed solve, with an `Outcome` as its code:
    `not_unique` where the equation leaves a level or a total undetermined.
    """
    given, guess = guess, jax.tree.map(jnp.asarray, guess)
    require_floating(guess, "steady: guess")
    dtype = result_dtype(guess)
    stepper = SteadyState(
        solver=NewtonKrylov(float(jnp.finfo(dtype).eps) ** _RTOL) if solver is None else solver,
        adjoint=ImplicitAdjoint() if adjoint is None else adjoint,
        pseudo_time=pseudo_time,
        check_unique=check_unique,
    )
    require_masses(model, guess, explicit=None)
    if batch_ndim is None:
        batch_ndim = find_batch_ndim(model, guess)
    choice = None
    if asks_for_choice(stepper):
        choice = choose_preconditioner(stepper, model, given, 0.0, t=t, batch_ndim=batch_ndim)
        stepper = with_choice(stepper, choice)
    found = _steady(stepper, model, guess, jnp.asarray(t, dtype), probe, batch_ndim)
    found = dataclasses.replace(found, method=Method.of(stepper, None, dtype, choice))
    if not throw:
        return found
    if not isinstance(found.status.converged, jax.core.Tracer):
        found.raise_for_failure()
        return found
    u = eqx.error_if(
        found.u,
        ~jnp.all(found.status.converged),
        "steady: a solve did not converge. Call steady outside jax.jit to learn the sample and "
        "reason, or pass throw=False and look at status.",
    )
    return eqx.tree_at(lambda f: f.u, found, u)


@eqx.filter_jit
def _steady(
    stepper: SteadyState,
    model: HybridModel,
    guess: PyTree[Array],
    t: Float[Array, ""],
    probe: Float[Array, "*batch"] | None,
    batch_ndim: int,
) -> Steady:
    latent = model.latent(t)

    def of_one(guess: Any, latent: Any, probe: Any) -> tuple[Any, Status, Array]:
        here = of_sample(latent)
        stage = stepper.first_stage(model, t, jnp.zeros_like(t), guess, None, (here,))
        found = stepper.solved(stage, guess, probe)
        status = with_well_posedness(found.status, model, t, found.u, here)
        return found.u, status, found.pseudo_steps

    axes = (0, sample_axes(latent), None if probe is None else 0)
    u, status, steps = over_batch(of_one, batch_ndim, axes)(guess, latent, probe)
    return Steady(u, status, steps, t)
