"""An exponential Runge-Kutta stepper: stiff linear terms are exact, mode by mode."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PyTree

from impindiff.errors import InputError
from impindiff.preconditioners.components import grid_of
from impindiff.spectral._modes import Modes, known
from impindiff.steppers import (
    IMEX,
    AbstractStepper,
    HybridModel,
    StageEquation,
    Step,
    status_without_solve,
)
from impindiff.steppers.mass import lost_where_algebraic, over_mass, rate, require_masses

Time = Float[Array, ""]
State = PyTree[Float[Array, "..."]]
Modal = PyTree[Complex[Array, "..."]]

# terms of the series that is used below 1/2: the first one left out is 2^-13 / 16! of the sum
_TERMS = 13


class ETDRK4(AbstractStepper):
    r"""Exponential time differencing of order 4, exact for linear terms that the modes diagonalise.

        ipd.rollout(model, u0, times, dt=0.01, stepper=ipd.spectral.ETDRK4())

    With $u' = L u + N(u)$ and L diagonal in Fourier modes,

    $$u(t + h) = e^{h L} u(t) + \int_0^h e^{(h - s) L} N(u(t + s))\, ds$$

    by the four stages of Cox and Matthews. No step is unstable by L, and none solves
    an equation. The step is limited by N, as that of an explicit method.

    The model has a `grid` as `gradient` takes it, and a tendency that is an `IMEX` whose implicit
    part has constant coefficients, of any order: nu times `laplacian`, dispersion by third
    derivatives. L is read off one product with its Jacobian per component, and N is all the rest of
    the tendency, so that a part that is not constant, or couples components, is not lost but
    explicit. A tendency that is not an `IMEX` is linearised whole.

    Reverse mode stores u alone for each step.

    **Raises:** `InputError` for a model without `grid`, another grid, a state that is not fields on
    it, and algebraic components.

    Cost: four evaluations of the tendency and about 12 transforms.

    Source: Cox and Matthews, Exponential time differencing for stiff systems, J. Comput. Phys. 176
    (2002); Kassam and Trefethen, Fourth-order time-stepping for stiff PDEs, SIAM J. Sci. Comput. 26
    (2005).
    """

    order: ClassVar[int] = 4
    nodes: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: None,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> Step:
        """Advance one step; `probe` is not used."""
        del memory, probe
        require_masses(model, u, explicit="ETDRK4")
        grid = grid_of(StageEquation(model, t, dt, latents[0], u), "ETDRK4")
        modes = Modes(grid, "ETDRK4")
        for leaf in jax.tree.leaves(u):
            if leaf.shape != grid.cells:
                raise InputError(
                    f"ETDRK4: expected a state of fields of shape {grid.cells}, the cells of the "
                    f"model's grid, got a component of shape {leaf.shape}; take KenCarp4"
                )

        @eqx.filter_checkpoint
        def advance(model, t, dt, u, latents):
            L = _spectra(model, t, u, latents[0], modes)
            coefficients = jax.tree.map(lambda s: _Coefficients(s, dt), L)

            def nonlinear(node: int, v: Modal) -> Modal:
                field = jax.tree.map(lambda c, like: modes.backward(c, like.dtype), v, u)
                pairs = zip(jax.tree.leaves(field), jax.tree.leaves(v), strict=True)
                with known(list(pairs)):
                    f = rate(model, t + self.nodes[node] * dt, field, latents[node])
                return jax.tree.map(lambda f, s, c: modes.forward(f) - s * c, f, L, v)

            def combined(function, *states: Modal) -> Modal:
                return jax.tree.map(
                    function, coefficients, *states, is_leaf=lambda x: isinstance(x, _Coefficients)
                )

            start = jax.tree.map(modes.forward, u)
            at_start = nonlinear(0, start)
            first = combined(lambda c, u, n: c.half * u + c.middle * n, start, at_start)
            at_first = nonlinear(1, first)
            second = combined(lambda c, u, n: c.half * u + c.middle * n, start, at_first)
            at_second = nonlinear(1, second)
            third = combined(
                lambda c, a, n, m: c.half * a + c.middle * (2 * n - m), first, at_second, at_start
            )
            at_third = nonlinear(2, third)
            end = combined(
                lambda c, u, n, a, b, m: c.whole * u + c.outer * n + c.inner * (a + b) + c.last * m,
                start,
                at_start,
                at_first,
                at_second,
                at_third,
            )
            return jax.tree.map(lambda c, like: modes.backward(c, like.dtype), end, u)

        z = lost_where_algebraic(model, advance(model, t, dt, u, latents))
        return Step(z, None, status_without_solve(z))


def _spectra(model: HybridModel, t: Time, u: State, latent: PyTree[Any], modes: Modes) -> Modal:
    """The eigenvalues of the linear part, by its answer to one cell's content."""

    def linear(v: State) -> State:
        found = model.tendency(t, v, latent)
        return over_mass(model, found.implicit if isinstance(found, IMEX) else found)

    leaves, structure = jax.tree.flatten(u)
    _, jacobian = jax.linearize(linear, u)
    found = []
    for i, leaf in enumerate(leaves):
        seeds = [jnp.zeros_like(x) for x in leaves]
        seeds[i] = seeds[i].at[(0,) * leaf.ndim].set(1)
        answer = jax.tree.leaves(jacobian(jax.tree.unflatten(structure, seeds)))[i]
        found.append(modes.forward(answer))
    return jax.tree.unflatten(structure, found)


class _Coefficients:
    """Weights of a step: exp(z / 2), exp(z), and integrals of them, z = h L."""

    def __init__(self, spectrum: Complex[Array, "*modes"], dt: Time):
        h = jnp.asarray(dt, jnp.real(spectrum).dtype)
        x = 0.5 * h * spectrum
        self.half = jnp.exp(x)
        self.whole = self.half**2
        one, two, three = _phi(x, self.half)
        self.middle = 0.5 * h * one
        # those of 2 x
        one, two, three = (
            0.5 * (self.half * one + one),
            0.25 * (self.half * two + one + two),
            0.125 * (self.half * three + 0.5 * one + two + three),
        )
        self.outer = h * (one - 3 * two + 4 * three)
        self.inner = h * (2 * two - 4 * three)
        self.last = h * (4 * three - two)


def _phi(
    x: Complex[Array, "*modes"], exponential: Complex[Array, "*modes"]
) -> tuple[Array, Array, Array]:
    """phi_k(x) = (phi_{k-1}(x) - 1 / (k-1)!) / x for k = 1, 2, 3, phi_0 = exp.

    Below 1/2 by their series, where the quotients lose their digits.
    """
    small = jnp.abs(x) < 0.5
    near, inverse = jnp.where(small, x, 0.0), 1 / jnp.where(small, 1.0, x)
    three = jnp.full_like(x, 1 / math.factorial(_TERMS + 2))
    for j in reversed(range(3, _TERMS + 2)):
        three = near * three + 1 / math.factorial(j)
    two = near * three + 0.5
    far_one = (exponential - 1) * inverse
    far_two = (far_one - 1) * inverse
    return (
        jnp.where(small, near * two + 1, far_one),
        jnp.where(small, two, far_two),
        jnp.where(small, three, (far_two - 0.5) * inverse),
    )
