"""Checkpoint schedules: the same trajectory and gradient, the promised number of solves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import Decay, TwoGases, blobs, transport

from helpers import central_difference_error, dot, normal_like
from impindiff import InputError
from impindiff.implicit import ImplicitAdjoint, NewtonKrylov
from impindiff.implicit.solver import AbstractRootSolver
from impindiff.rollout import Binomial, ForBudget, Segments, StoreStates, rollout
from impindiff.rollout._checkpointing import Sizes
from impindiff.steppers import BDF2, RK4, SDIRK2, BackwardEuler, CrankNicolson, KenCarp4
from impindiff.steppers._implicit import ImplicitStepper

SCHEDULES = [Segments(), Segments(4), Segments(100), Binomial(1), Binomial(3), Binomial(50)]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
# 13 steps: a prime number, three output times, several steps to each
TIMES, DT = np.asarray([0.0, 0.05, 0.11, 0.13]), 0.01


class Counting(AbstractRootSolver):
    """Newton's method that tells the host of every solve."""

    counter: list = eqx.field(static=True)
    rtol: float | None = 1e-13
    atol: float | None = 1e-13
    max_iterations: int = 20

    def solve(self, residual, z0, args, *, guess=None, unrolled=False):
        # what does not depend on the state could be moved out of the loop
        jax.debug.callback(self.counter.append, jax.tree.leaves(z0)[0])
        solver = NewtonKrylov(self.rtol, self.atol, self.max_iterations)
        return solver.solve(residual, z0, args, guess=guess, unrolled=unrolled)


def tight(stepper: type[ImplicitStepper] = CrankNicolson) -> ImplicitStepper:
    return stepper(solver=NewtonKrylov(rtol=1e-13, atol=1e-14))


@eqx.filter_jit
def value_and_gradient(model, u0, schedule, stepper):
    """((value, result), gradient) with respect to the model, u0 and the probe."""

    @eqx.filter_value_and_grad(has_aux=True)
    def loss(free):
        model, u0, probe = free
        result = rollout(
            model, u0, TIMES, dt=DT, stepper=stepper, checkpointing=schedule, throw=False,
            probe=probe,
        )  # fmt: skip
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(result.u)), result

    batch = jax.tree.leaves(u0)[0].shape[:1] if getattr(model, "grid", None) else ()
    return loss((model, u0, jnp.zeros((13, *batch))))


def assert_same(one, other, rtol=1e-11):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)


@pytest.fixture(scope="module")
def of_a_batch():
    """With every state stored."""
    return value_and_gradient(transport(), blobs(2), StoreStates(), tight())


@pytest.mark.slow
@each_schedule
def test_a_batch_through_a_field(of_a_batch, schedule):
    """Trajectory, statistics; gradient of the model, each sample's u0, and the adjoint's probe."""
    (value, result), (of_model, of_u0, _) = of_a_batch
    (value2, result2), (of_model2, of_u02, probe) = value_and_gradient(
        transport(), blobs(2), schedule, tight()
    )
    assert_same((result.u, result.stats), (result2.u, result2.stats))
    assert result2.stats.iterations.shape == (13, 2)
    assert result2.checkpointing == schedule
    assert_same((value, of_model, of_u0), (value2, of_model2, of_u02))
    assert probe.shape == (13, 2)
    assert np.all(np.asarray(probe) > 0)
    assert np.max(np.asarray(probe)) < 1e-8


class Moving(Decay):
    rate: jax.Array = eqx.field(default_factory=lambda: jnp.asarray(2.0))

    def latent(self, t):
        return self.rate * jnp.cos(t)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "stepper",
    [tight(BackwardEuler), tight(BDF2), tight(SDIRK2), tight(KenCarp4), RK4()],
    ids=lambda stepper: type(stepper).__name__,
)
def test_gradient_with_coefficients_that_change_in_time(stepper):
    """A coefficient for each step and node is differentiated too."""
    model, u0 = Moving(None), jnp.asarray([1.0, 0.5])
    (value, _), gradient = value_and_gradient(model, u0, StoreStates(), stepper)
    for schedule in (Segments(4), Binomial(3)):
        (value2, _), gradient2 = value_and_gradient(model, u0, schedule, stepper)
        assert_same((value, gradient), (value2, gradient2), rtol=1e-10)

    direction, parameters = normal_like(0, (model, u0)), (model, u0)
    slope = jnp.asarray(dot(gradient[:2], direction))

    def along(parameters):
        return value_and_gradient(parameters[0], parameters[1], StoreStates(), stepper)[0][0]

    assert float(abs(gradient[0].rate)) > 1e-3
    assert central_difference_error(along, parameters, direction, slope) < 1e-7


GASES = TwoGases(jnp.asarray(0.7))
AMOUNTS = {"fuel": jnp.ones(3), "oxygen": jnp.full(3, 2.0)}


@pytest.mark.slow
def test_gradient_of_a_pytree_state():
    (value, _), gradient = value_and_gradient(GASES, AMOUNTS, StoreStates(), tight())
    (value2, _), gradient2 = value_and_gradient(GASES, AMOUNTS, Binomial(2), tight())
    assert_same((value, gradient), (value2, gradient2))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [StoreStates(), *SCHEDULES], ids=str)
def test_number_of_solves_is_that_of_theory(schedule):
    counter: list = []
    stepper = BackwardEuler(solver=Counting(counter=counter))
    jax.block_until_ready(value_and_gradient(GASES, AMOUNTS, schedule, stepper))
    jax.effects_barrier()
    assert len(counter) == schedule.solves(13)


def test_theory():
    """Counted by hand, and Griewank and Walther's closed form against exhaustive search."""
    assert StoreStates().solves(100) == 100
    assert Segments().solves(100) == 190
    assert Segments(7).solves(15) == 15 + 14
    assert Binomial(1).solves(4) == 4 + 3 + 2 + 1
    assert Binomial(99).solves(100) == Binomial(1000).solves(100) == 199

    best: dict[tuple[int, int], int] = {}

    def advances(steps, slots):
        """Least number of steps to run (none of them the last before a Reverse)."""
        if steps == 1:
            return 0
        if slots == 1:
            return steps * (steps - 1) // 2
        if (steps, slots) not in best:
            best[steps, slots] = min(
                k + advances(steps - k, slots - 1) + advances(k, slots) for k in range(1, steps)
            )
        return best[steps, slots]

    for steps in range(2, 40):
        for slots in (1, 2, 3, 5):
            assert Binomial(slots).solves(steps) == steps + advances(steps, slots)


@pytest.mark.slow
def test_forward_mode_through_segments():
    model, u0, v = transport(), blobs(), blobs(seed=3)

    def derivative(schedule):
        def final(u0):
            return rollout(
                model, u0, TIMES, dt=DT, stepper=tight(), checkpointing=schedule, throw=False
            ).u

        return jax.jit(lambda u, v: jax.jvp(final, (u,), (v,))[1])(u0, v)

    assert_same(derivative(StoreStates()), derivative(Segments()))


@pytest.mark.slow
def test_hessian_vector_product():
    """Reverse mode over forward mode, against differences of gradients."""
    model, u0, v = transport(), blobs(), blobs(seed=3)

    # the differences divide the adjoint solve's residual by their step
    exact = CrankNicolson(NewtonKrylov(rtol=1e-13, atol=1e-14), ImplicitAdjoint(rtol=1e-13))

    def loss(u0):
        return jnp.sum(rollout(model, u0, TIMES, dt=DT, stepper=exact, throw=False).u ** 4)

    gradient = jax.jit(jax.grad(loss))
    product = jax.jit(jax.grad(lambda u: jax.jvp(loss, (u,), (v,))[1]))(u0)
    difference = (gradient(u0 + 1e-4 * v) - gradient(u0 - 1e-4 * v)) / 2e-4
    np.testing.assert_allclose(product, difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("1 MB", StoreStates()),
        (10_000, StoreStates()),
        ("6KB", Segments()),
        ("1.0 kB", Binomial(10)),
        (100, Binomial(1)),
    ],
)
def test_a_budget_chooses_the_fewest_solves_that_fit(budget, expected):
    chosen = ForBudget(budget).chosen(Sizes(steps=100, carry=100, kept=100))
    assert chosen == expected
    assert chosen.stored_bytes(Sizes(steps=100, carry=100, kept=100)) <= 1e6


@pytest.mark.slow
def test_a_budget_in_a_rollout_says_what_was_chosen():
    state = 8 * 4 * 8
    result = rollout(
        transport(), blobs(), TIMES, dt=DT, stepper=tight(BackwardEuler),
        checkpointing=ForBudget(4 * state),
    )  # fmt: skip
    assert result.checkpointing == Binomial(4)
    with pytest.raises(InputError, match="does not hold one state"):
        rollout(transport(), blobs(), TIMES, dt=DT, checkpointing=ForBudget(10))


@pytest.mark.parametrize("budget", ["lots", "-3MB", 0, "", "3 parsecs", "1.2.3MB"])
def test_a_budget_that_cannot_be_read(budget):
    with pytest.raises(InputError, match="ForBudget: budget"):
        ForBudget(budget)


@pytest.mark.slow
def test_impossible_schedules_are_refused():
    with pytest.raises(InputError, match="Segments: length = 0"):
        Segments(0)
    with pytest.raises(InputError, match="Binomial: slots = 0"):
        Binomial(0)
