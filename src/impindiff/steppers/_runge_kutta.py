"""Diagonally implicit Runge-Kutta steppers, with one solve per implicit stage.

The stages run in a loop (`lax.scan`): the compiled program holds one implicit layer and its
adjoint, for any number of stages.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit.pytree import axpy, carry_with_tangents, tree_add, tree_where
from impindiff.steppers import _tableaus as tableaus
from impindiff.steppers._implicit import ImplicitStepper, StageEquation, stage_rate
from impindiff.steppers._stepper import State, Step, Time
from impindiff.steppers._tableaus import Tableau
from impindiff.steppers.mass import has_algebraic, over_mass, rate
from impindiff.steppers.model import IMEX, HybridModel
from impindiff.steppers.window import at

# a gap between states, in any unit of time: extrapolation over it gives the last state itself
_ENDLESS = 1e12


class _Past(eqx.Module):
    """The last three states of stages, the latest first, and the two gaps between their times."""

    states: tuple[State, State, State]
    gaps: tuple[Time, Time]

    @classmethod
    def before_first(cls, t: Time, u: State) -> "_Past":
        """A past without change."""
        endless = jnp.full_like(t, _ENDLESS)
        return cls((u, u, u), (endless, endless))

    def extrapolated(self, ahead: Time) -> State:
        """The parabola through the three states, `ahead` of the latest."""
        first, second = self.gaps

        def of_leaf(a: Array, b: Array, c: Array) -> Array:
            slope, before = (a - b) / first.astype(a.dtype), (b - c) / second.astype(a.dtype)
            bend = (ahead * (ahead + first) / (first + second)).astype(a.dtype)
            return a + ahead.astype(a.dtype) * slope + bend * (slope - before)

        return jax.tree.map(of_leaf, *self.states)

    def then(self, z: State, ahead: Time) -> "_Past":
        """The past after a stage `ahead` of the latest."""
        return _Past((jax.lax.stop_gradient(z), *self.states[:2]), (ahead, self.gaps[0]))


class _Memory(eqx.Module):
    """Memory between steps: the rate, where the first stage needs it; the past, for a guess."""

    rate: State | None
    past: _Past | None


class DIRK(ImplicitStepper):
    """Common base of DIRK steppers; see `Tableau` for the formula.

    The rate of each stage follows from the stage's own equation (`stage_rate`). Where the first
    stage is explicit its rate is the previous step's last one: tendencies are evaluated in the
    solves only, and the backward pass stores one state per solve. The last stage is the result (the
    methods are stiffly accurate), so that algebraic components satisfy their equation in it.

    A tendency that is an `IMEX` is advanced as an IMEX pair if the tableau has one: the implicit
    part as above, the explicit part by evaluation at each stage, and the result is the weighted sum
    of the rates of both.
    """

    tableau: ClassVar[Tableau]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        tableau = cls.tableau
        cls.nodes = tuple(dict.fromkeys(tableau.nodes))
        cls.solves_per_step = tableau.stages - tableau.explicit_first

    def start(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> _Memory:
        """The rate at the initial time, if the first stage needs it and can pass it on."""
        past = None
        if self.first_guess == "extrapolated":
            past = _Past.before_first(t, jax.lax.stop_gradient(u))
        if not self.tableau.explicit_first or self._is_split(model, t, u, latent):
            return _Memory(None, past)
        return _Memory(rate(model, t, u, latent), past)

    def starts_inconsistent(self) -> bool:
        """True unless the first stage needs the rate of the initial state."""
        return not self.tableau.explicit_first

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> Step:
        """Advance one step, stage by stage.

        **Raises:** `InputError` for an IMEX pair and a model with algebraic components.
        """
        tableau = self.tableau
        rates, xs, equation = self._stages(model, t, dt, u, memory, latents)
        imex = rates.explicit is not None
        nodes = np.asarray(tableau.nodes[int(tableau.explicit_first) :])
        ahead = dt * jnp.asarray(np.diff(nodes, prepend=0.0), jnp.result_type(t))

        def solve(carry: Any, x: Any) -> tuple[Any, tuple[State, Any]]:
            (rates, past), (x, ahead) = carry, x
            stage, index = equation(rates, x), x[0]
            guess = None if past is None else past.extrapolated(ahead)
            z, status = self.solve_stage(stage, u, guess, probe)
            explicit = _evaluated(model, stage.t, z, stage.latent).explicit if imex else None
            rates = _set(rates, index, IMEX(stage_rate(z, stage), explicit))
            return (rates, None if past is None else past.then(z, ahead)), (z, status)

        past = memory.past
        (rates, after), (stages, statuses) = jax.lax.scan(solve, (rates, past), (xs, ahead))
        z = jax.tree.map(lambda all: all[-1], stages)
        total = tree_add(rates.implicit, rates.explicit) if imex else rates.implicit
        if imex:
            # the implicit method's last stage is its result; the explicit method's is not, so that
            # the pair needs the weighted sum
            weights = jnp.asarray(tableau.weights, jnp.result_type(t))
            z = axpy(dt, _combined(weights, total), u)
        error = None
        if tableau.embedded is not None:
            difference = np.subtract(tableau.weights, tableau.embedded)
            rate = _combined(jnp.asarray(difference, jnp.result_type(t)), total)
            error = jax.tree.map(lambda r: jnp.asarray(dt, r.dtype) * r, rate)
        last = None
        if memory.rate is not None:
            last = jax.tree.map(lambda all: all[-1], rates.implicit)
        if past is not None:
            # after a step of length 0 there is no gap to extrapolate over
            after = tree_where(dt > 0, after, past)
        return Step(z, _Memory(last, after), statuses.combined(), error)

    def first_stage(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
    ) -> StageEquation:
        """The equation of the first implicit stage."""
        rates, xs, equation = self._stages(model, t, dt, u, memory, latents)
        return equation(rates, jax.tree.map(lambda x: x[0], xs))

    def _stages(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
    ) -> tuple[IMEX, Any, Callable[[IMEX, Any], StageEquation]]:
        """(rates, xs, equation): a stage with data x of `xs` solves `equation(rates, x)`.

        `rates` has the implicit and the explicit part of the stages so far, zero where unknown; x
        begins with the stage's index.
        """
        tableau = self.tableau
        by_node = dict(zip(self.nodes, latents, strict=True))
        imex = self._is_split(model, t, u, latents[0])
        if imex and has_algebraic(model, u):
            raise InputError(
                f"{type(self).__name__}: the tendency is an IMEX and some component has mass 0, "
                "which an IMEX pair cannot advance; return the sum of the parts, or use SDIRK2"
            )
        first = int(tableau.explicit_first)
        dtype = jnp.result_type(t)
        below, below_explicit = (
            jnp.asarray(_square(rows), dtype)[first:]
            for rows in (tableau.below, tableau.explicit or tableau.below)
        )
        nodes = jnp.asarray(tableau.nodes[first:], dtype)
        of_stages = [by_node[c] for c in tableau.nodes[first:]]
        steady = all(latent is of_stages[0] for latent in of_stages)
        stacked = None if steady else jax.tree.map(lambda *all: jnp.stack(all), *of_stages)

        nothing = jax.tree.map(lambda x: jnp.zeros((tableau.stages, *x.shape), x.dtype), u)
        nothing = carry_with_tangents(nothing, (model, t, dt, u, latents))
        rates = IMEX(nothing, nothing if imex else None)
        if first:
            found = _evaluated(model, t, u, by_node[0.0]) if imex else IMEX(memory.rate, None)
            rates = _set(rates, 0, found)

        def equation(rates: IMEX, x: Any) -> StageEquation:
            _, c, row, row_explicit, latent = x
            latent = of_stages[0] if steady else latent
            known = axpy(dt, _combined(row, rates.implicit), u)
            if imex:
                known = axpy(dt, _combined(row_explicit, rates.explicit), known)
            weight = dt * tableau.diagonal
            return StageEquation(*at(model, t + c * dt), weight, latent, known, imex)

        xs = (jnp.arange(first, tableau.stages), nodes, below, below_explicit, stacked)
        return rates, xs, equation

    def _is_split(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> bool:
        """True if the model splits its tendency and this stepper uses the split."""
        if self.tableau.explicit is None:
            return False
        return isinstance(eqx.filter_eval_shape(model.tendency, t, u, latent), IMEX)


class SDIRK2(DIRK):
    """Alexander's method of two implicit stages, with c = (g, 1) and g = 1 - 1/sqrt(2).

    Second order, L-stable, stiffly accurate: unlike Crank-Nicolson it damps stiff modes, at two
    solves per step.

    Source: Alexander, "Diagonally implicit Runge-Kutta methods for stiff O.D.E.'s", SIAM J. Numer.
    Anal. 14 (1977).
    """

    tableau: ClassVar[Tableau] = tableaus.SDIRK2
    order: ClassVar[int] = 2


class KenCarp3(DIRK):
    """ARK3(2)4L[2]SA of Kennedy and Carpenter: third order, three solves per step.

    L-stable, stiffly accurate, of stage order 2, with an embedded method of order 2; with an `IMEX`
    tendency an IMEX pair of order 3, otherwise an ESDIRK method.

    Source: Kennedy and Carpenter, "Additive Runge-Kutta schemes for convection-diffusion-reaction
    equations", Appl. Numer. Math. 44 (2003).
    """

    tableau: ClassVar[Tableau] = tableaus.KEN_CARP_3
    order: ClassVar[int] = 3
    embedded_order: ClassVar[int | None] = 2


class KenCarp4(DIRK):
    """ARK4(3)6L[2]SA of Kennedy and Carpenter: fourth order, five solves per step.

    L-stable, stiffly accurate, of stage order 2, with an embedded method of order 3; with an `IMEX`
    tendency an IMEX pair of order 4, otherwise an ESDIRK method.

    Source: Kennedy and Carpenter, "Additive Runge-Kutta schemes for convection-diffusion-reaction
    equations", Appl. Numer. Math. 44 (2003).
    """

    tableau: ClassVar[Tableau] = tableaus.KEN_CARP_4
    order: ClassVar[int] = 4
    embedded_order: ClassVar[int | None] = 3


@eqx.filter_checkpoint
def _evaluated(model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> IMEX:
    """The rates of both parts, for which reverse mode stores u only."""
    return IMEX(*(over_mass(model, part) for part in model.tendency(t, u, latent)))


def _square(rows: tuple[tuple[float, ...], ...]) -> Float[np.ndarray, "stages stages"]:
    """The rows padded with zeros."""
    return np.asarray([[*row, *[0.0] * (len(rows) - len(row))] for row in rows])


def _combined(row: Float[Array, " stages"], rates: PyTree[Array]) -> State:
    """Weighted sum sum_j row_j k_j of the rates."""
    return jax.tree.map(lambda all: jnp.tensordot(row.astype(all.dtype), all, 1), rates)


def _set(rates: IMEX, index: Any, found: IMEX) -> IMEX:
    return jax.tree.map(lambda all, one: all.at[index].set(one), rates, found)
