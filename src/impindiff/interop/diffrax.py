"""Steppers of this library as Diffrax solvers, with save points, events and controllers.

Diffrax's own implicit solvers build a dense Jacobian, always so in the gradient; these are
matrix-free in both directions, and their gradient stores no iterates.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from impindiff.errors import InputError
from impindiff.implicit.pytree import require_floating, tree_where
from impindiff.steppers import AbstractStepper, HybridModel, VectorField
from impindiff.steppers.mass import has_algebraic, rate


class Implicit(diffrax.AbstractSolver):
    """An implicit (or any other) stepper in `diffrax.diffeqsolve`.

    ```python
    solver = ipd.diffrax.Implicit(ipd.KenCarp3())
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(f), solver, 0.0, 1.0, 0.01, y0, args, saveat=..., adjoint=...
    )
    ```

    The state may be any pytree of real floating-point arrays; time may run backwards. Terms are
    `diffrax.ODETerm`, alone or several in a `MultiTerm`; a control other than time (`ControlTerm`)
    is refused. The gradient is that of the stepper's own rule, `ImplicitAdjoint` by default, inside
    Diffrax's adjoint from step to step (`BacksolveAdjoint` solves another equation backwards and
    gives that equation's gradient). `KenCarp3` and `KenCarp4` estimate their error, as adaptive
    step size controllers need; the others take constant steps or those of `diffrax.StepTo`. Between
    steps the solution is interpolated: linearly up to order 2, since low orders oscillate
    otherwise, and by cubic Hermite polynomials above.

    **Arguments:**

    - `stepper`: such as `CrankNicolson()`; its `solver` may have a preconditioner, which receives
      the `StageEquation` of a `VectorField`. `max_halvings` is ignored: a step whose solve fails
      ends the solution with `RESULTS.nonlinear_divergence`.

    **Raises:** `InputError` for other terms, and for a state that is not real and floating-point.
    """

    term_structure: ClassVar[Any] = diffrax.AbstractTerm
    stepper: AbstractStepper

    @property
    def interpolation_cls(self) -> Callable[..., Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Interpolation by the order of the stepper."""
        if self.stepper.order <= 2:
            return diffrax.LocalLinearInterpolation
        return diffrax.ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        """Order of the stepper."""
        del terms
        return self.stepper.order

    def error_order(self, terms: Any) -> int | None:
        """Order of the error estimate, one more than the embedded method's."""
        del terms
        embedded = self.stepper.embedded_order
        return None if embedded is None else embedded + 1

    def init(self, terms: Any, t0: Any, t1: Any, y0: PyTree[Array], args: Any) -> PyTree[Any]:
        """Initial memory of the stepper."""
        _require_time_only(terms)
        require_floating(y0, "ipd.diffrax.Implicit: y0")
        return self._start(_model(terms, t0, t1, y0, args), jnp.asarray(t0), y0)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: PyTree[Array],
        args: Any,
        solver_state: PyTree[Any],
        made_jump: Any,
    ) -> tuple[PyTree[Array], PyTree[Array] | None, dict[str, Any], PyTree[Any], Any]:
        """Advance one step; see `diffrax.AbstractSolver.step`."""
        model = _model(terms, t0, t1, y0, args)
        t0, length = jnp.asarray(t0), jnp.asarray(t1 - t0)
        # Under `jax.vmap` a finished solution continues with unused steps of length 0, whose
        # derivatives must be finite nevertheless.
        empty = length == 0
        dt = jnp.where(empty, (1 + abs(t0)) * jnp.finfo(t0.dtype).eps ** 0.5, length)
        # the memory is invalid across a jump of the vector field
        memory = jax.lax.cond(made_jump, lambda: self._start(model, t0, y0), lambda: solver_state)
        latents = (None,) * len(self.stepper.nodes)
        step = self.stepper.step(model, t0, dt, y0, memory, latents, None)
        results: Any = diffrax.RESULTS
        result = results.where(
            step.status.converged, results.successful, results.nonlinear_divergence
        )
        u, memory = tree_where(empty, (y0, memory), (step.u, step.memory))
        dense = {"y0": y0, "y1": u}
        if self.interpolation_cls is not diffrax.LocalLinearInterpolation:
            for name, t, y in (("k0", t0, y0), ("k1", t1, u)):
                rates = model.tendency(t, y, None)
                dense[name] = jax.tree.map(lambda k: jnp.asarray(length, k.dtype) * k, rates)
        return u, step.error, dense, memory, result

    def func(self, terms: Any, t0: Any, y0: PyTree[Array], args: Any) -> PyTree[Array]:
        """Vector field du/dt."""
        # an interval for the direction of time only; any length above round-off will do
        return _model(terms, t0, t0 + 1 + abs(t0), y0, args).tendency(t0, y0, None)

    def _start(self, model: VectorField, t: Array, y: PyTree[Array]) -> PyTree[Any]:
        return self.stepper.start(model, t, y, None)


class _Rate(eqx.Module):
    """Vector field du/dt of a Diffrax term: its vector field times its control per unit of time.

    The control carries the direction of time: Diffrax reverses it to run backwards.
    """

    terms: Any
    control: PyTree[Any]

    def __call__(self, t: Array, y: PyTree[Array], args: Any) -> PyTree[Array]:
        return self.terms.vf_prod(t, y, args, self.control)


def _model(terms: Any, t0: Any, t1: Any, y: PyTree[Array], args: Any) -> VectorField:
    length = jnp.asarray(t1 - t0)
    safe = jnp.where(length == 0, 1.0, length)
    # a number such as 1 or -1; Diffrax raises it to the precision of y, but does not lower it
    lowest = min((x.dtype for x in jax.tree.leaves(y)), key=lambda dtype: jnp.finfo(dtype).bits)
    control = jax.tree.map(lambda c: jnp.asarray(c / safe, lowest), terms.contr(t0, t1))
    return VectorField(_Rate(terms, control), args)


def _require_time_only(terms: Any) -> None:
    """Raise `InputError` unless the control of every term is time."""
    if isinstance(terms, diffrax.MultiTerm):
        for term in terms.terms:
            _require_time_only(term)
    elif isinstance(inner := getattr(terms, "term", None), diffrax.AbstractTerm):
        # terms that reverse time (WrapTerm), or integrate backwards (AdjointTerm)
        _require_time_only(inner)
    elif not isinstance(terms, diffrax.ODETerm):
        raise InputError(
            f"ipd.diffrax.Implicit: a term is a {type(terms).__name__}; expected diffrax.ODETerm, "
            "or several in a MultiTerm (a smooth ControlTerm becomes one by to_ode(); stochastic "
            "equations take a solver of Diffrax's)"
        )


def field(t: Array, u: PyTree[Array], model: HybridModel) -> PyTree[Array]:
    """Vector field of a `HybridModel`, for `diffrax.ODETerm` with the model as `args`.

    Its latent fields are evaluated with each evaluation of the tendency; `rollout` evaluates them
    once per step, or once in all.

    **Raises:** `InputError` for components of mass zero, whose initial state Diffrax would not make
    consistent.
    """
    if has_algebraic(model, u):
        raise InputError(
            "ipd.diffrax.field: a component of the model has mass 0, so it is algebraic and "
            "no ODE; use ipd.rollout, or give it a mass"
        )
    return rate(model, t, u, model.latent(t))
