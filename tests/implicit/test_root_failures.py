"""What cannot be solved says so, stops, and leaves its neighbours alone."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

from impindiff.errors import InputError
from impindiff.implicit import Anderson, NewtonKrylov, Outcome, Picard, Status, Unrolled, root
from problems import CUBIC, NONSYMMETRIC, SYMMETRIC, N, cubic_residual, linear_residual

MATRIX, RIGHT = NONSYMMETRIC.args


def no_root(z, _):
    return z * z + 1


def singular(z, _):
    """Rank one; the right-hand side is not in its range."""
    return jnp.stack([z[0] + z[1], z[0] + z[1]]) - jnp.asarray([1.0, 2.0])


def flat_start(z, _):
    """A root at 1, but a first guess of 0 where the derivative vanishes."""
    return z**2 - 1


def not_finite(z, _):
    return jnp.log(z - 2)


CASES = {
    "no root": (no_root, jnp.full(2, 0.3), NewtonKrylov(), {"stagnated"}),
    "singular": (singular, jnp.zeros(2), NewtonKrylov(), {"linear_failure", "linear_breakdown"}),
    "singular, GMRES": (
        singular,
        jnp.zeros(2),
        NewtonKrylov(linear_solver=lx.GMRES(rtol=1e-6, atol=1e-6)),
        {"linear_failure", "linear_breakdown"},
    ),
    "zero derivative": (flat_start, jnp.zeros(2), NewtonKrylov(), {"linear_breakdown"}),
    "zero Jacobian": (lambda z, _: 0 * z + 1, jnp.zeros(2), NewtonKrylov(), {"linear_breakdown"}),
    "a NaN in the Jacobian": (
        lambda z, _: jnp.sqrt(z) - 1,
        jnp.zeros(2),
        NewtonKrylov(),
        {"linear_breakdown"},
    ),
    "no root, Picard": (no_root, jnp.full(2, 0.3), Picard(), {"diverged"}),
    "no root, Anderson": (no_root, jnp.full(2, 0.3), Anderson(), {"diverged"}),
    "no root, full steps": (
        no_root,
        jnp.full(2, 0.3),
        NewtonKrylov(line_search=False),
        {"max_iterations", "diverged"},
    ),
    # the component along the null space runs away until round-off hides the residual
    "singular, Anderson": (singular, jnp.zeros(2), Anderson(), {"stagnated"}),
    "singular, Picard": (singular, jnp.zeros(2), Picard(), {"stagnated"}),
    "not finite, Picard": (not_finite, jnp.ones(2), Picard(), {"not_finite"}),
    "not finite, Anderson": (not_finite, jnp.ones(2), Anderson(), {"not_finite"}),
    "not finite": (not_finite, jnp.ones(2), NewtonKrylov(), {"not_finite"}),
    "no root, optimistix": (
        no_root,
        jnp.full(2, 0.3),
        optx.Newton(rtol=1e-8, atol=1e-8),
        {"max_iterations"},
    ),
    "not finite, optimistix": (
        not_finite,
        jnp.ones(2),
        optx.Newton(rtol=1e-8, atol=1e-8),
        {"not_finite"},
    ),
}


NAMES = (
    "converged",
    "max_iterations",
    "linear_failure",
    "linear_breakdown",
    "stagnated",
    "diverged",
    "not_finite",
)


def name_of(outcome) -> str:
    return next(name for name in NAMES if bool(outcome == getattr(Outcome, name)))


@pytest.mark.few(1)
@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_a_status(case):
    residual, z0, solver, outcomes = CASES[case]
    _, status = jax.jit(lambda z0: root(residual, z0, solver=solver))(z0)
    assert not status.converged
    assert name_of(status.outcome) in outcomes


def test_max_iterations():
    solver = NewtonKrylov(max_iterations=2, rtol=1e-12)
    _, status = root(cubic_residual, CUBIC.z0, CUBIC.args, solver=solver)
    assert not status.converged
    assert status.iterations == 2
    assert name_of(status.outcome) == "max_iterations"
    assert np.isfinite(status.residual)


def test_krylov_max_steps():
    one_step = lx.BiCGStab(rtol=1e-6, atol=1e-6, max_steps=1)
    solver = NewtonKrylov(linear_solver=one_step, max_iterations=1)
    _, status = root(linear_residual, NONSYMMETRIC.z0, NONSYMMETRIC.args, solver=solver)
    assert not status.converged
    assert status.linear_iterations == 1
    assert name_of(status.outcome) == "linear_failure"


@pytest.mark.parametrize("problem", [SYMMETRIC, CUBIC], ids=["linear", "cubic"])
def test_a_tolerance_below_round_off(problem):
    solver = NewtonKrylov(rtol=0.0, atol=1e-40)
    z, status = root(problem.residual, problem.z0 + 0.1, problem.args, solver=solver)
    assert not status.converged
    assert status.residual < 1e-14
    assert np.all(np.isfinite(z))
    assert status.iterations < solver.max_iterations
    assert name_of(status.outcome) == "stagnated"


@pytest.mark.slow
def test_a_nan_in_one_sample_leaves_the_others_bit_for_bit():
    rights = jnp.stack([RIGHT, 2 * RIGHT, -RIGHT, 0.1 * RIGHT])
    spoilt = rights.at[2, 3].set(jnp.nan)

    @jax.jit
    @jax.vmap
    def solve(right):
        strength = CUBIC.args[0]
        value, pullback, status = jax.vjp(
            lambda b: root(cubic_residual, CUBIC.z0, (strength, b)), right, has_aux=True
        )
        return value, status, pullback(jnp.ones(N))[0]

    (z, status, gradient), (z_spoilt, status_spoilt, gradient_spoilt) = solve(rights), solve(spoilt)
    others = np.asarray([0, 1, 3])
    np.testing.assert_array_equal(z_spoilt[others], z[others])
    np.testing.assert_array_equal(gradient_spoilt[others], gradient[others])
    np.testing.assert_array_equal(status_spoilt.residual[others], status.residual[others])
    np.testing.assert_array_equal(status_spoilt.iterations[others], status.iterations[others])
    assert status_spoilt.converged.tolist() == [True, True, False, True]
    assert name_of(jax.tree.map(lambda a: a[2], status_spoilt.outcome)) == "not_finite"


def test_the_worst_leaf_is_named():
    def residual(z, _):
        return {"fine": z["fine"] - 1, "lost": z["lost"] ** 2 + 1}

    _, status = root(residual, {"fine": jnp.zeros(2), "lost": jnp.ones(3)})
    assert status.worst_leaf == 1


def test_messages_say_what_to_try():
    for name in NAMES[1:]:
        assert "try" in Outcome[getattr(Outcome, name)]
    assert "max_iterations" in Outcome[Outcome.max_iterations]
    assert "preconditioner" in Outcome[Outcome.linear_failure]
    assert "NaN" in Outcome[Outcome.not_finite]


def test_a_status_has_a_field_per_question():
    _, status = root(linear_residual, NONSYMMETRIC.z0, NONSYMMETRIC.args)
    assert isinstance(status, Status)
    assert [leaf.shape for leaf in jax.tree.leaves(status)] == [()] * 7


@pytest.mark.parametrize(
    ("residual", "z0", "message"),
    [
        (lambda z, _: z, {}, "holds no arrays"),
        (lambda z, _: z, jnp.zeros((0, 3)), "no entries"),
        (lambda z, _: z, jnp.arange(3), "dtype int"),
        (lambda z, _: z, {"a": jnp.ones(2) * 1j}, r"z0\['a'\] has dtype complex"),
        (lambda z, _: (z, z), jnp.ones(3), "structure"),
        (lambda z, _: {"b": z["a"]}, {"a": jnp.ones(3)}, "structure"),
        (lambda z, _: z[:2], jnp.ones(3), r"shape \(2,\)"),
        (lambda z, _: z.astype(jnp.float32), jnp.ones(3), "float32"),
    ],
)
def test_an_unknown_or_a_residual_that_does_not_fit(residual, z0, message):
    with pytest.raises(InputError, match=message):
        root(residual, z0)


def test_unrolled_cannot_run_an_optimistix_solver():
    solver = optx.Newton(rtol=1e-8, atol=1e-8)
    with pytest.raises(InputError, match="Newton"):
        root(cubic_residual, CUBIC.z0, CUBIC.args, solver=solver, adjoint=Unrolled())
