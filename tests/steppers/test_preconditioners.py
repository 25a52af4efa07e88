"""The tridiagonal preconditioner: exact where it should be, in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import relative_difference


class Line(ipd.HybridModel):
    grid: ipd.Grid
    k: jax.Array

    def tendency(self, t, u, latent):
        return ipd.convection(u, lambda v: 0.5 * v**2, self.grid, "central") + ipd.diffusion(
            u, self.k, self.grid
        )


GRID = ipd.Grid((0.0,), (1.0,), (50,), boundary=((ipd.Dirichlet(0.3), ipd.Neumann()),))
U0 = jnp.sin(3 * GRID.centers[0])
K = jnp.asarray(0.2)


def run(k, **solver):
    stepper = ipd.CrankNicolson(solver=ipd.NewtonKrylov(rtol=1e-12, **solver))
    return ipd.rollout(Line(GRID, k), U0, [0.0, 0.05, 0.1], stepper=stepper, throw=False)


def test_one_krylov_iteration_a_solve_and_the_same_result_and_gradient():
    preconditioner = ipd.TridiagonalPreconditioner()
    plain, exact = run(K), run(K, preconditioner=preconditioner)
    np.testing.assert_array_equal(exact.stats.linear_iterations, exact.stats.iterations)
    assert plain.stats.linear_iterations.sum() > 10 * exact.stats.linear_iterations.sum()
    assert relative_difference(exact.u, plain.u) < 1e-9

    def gradient(**solver):
        return jax.jit(jax.grad(lambda k: jnp.sum(run(k, **solver).u[-1] ** 2)))(K)

    one_iteration = ipd.ImplicitAdjoint(max_iterations=1)
    stepper = ipd.CrankNicolson(
        solver=ipd.NewtonKrylov(rtol=1e-12, preconditioner=preconditioner), gradient=one_iteration
    )

    def loss(k):
        result = ipd.rollout(Line(GRID, k), U0, [0.0, 0.05, 0.1], stepper=stepper, throw=False)
        return jnp.sum(result.u[-1] ** 2)

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(K), gradient(), rtol=1e-6)


def test_a_state_of_another_shape_is_refused():
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (4, 4))
    stepper = ipd.BackwardEuler(
        solver=ipd.NewtonKrylov(preconditioner=ipd.TridiagonalPreconditioner())
    )
    with pytest.raises(ipd.InputError, match="expected a single one with one axis"):
        ipd.rollout(Line(grid, K), jnp.ones((4, 4)), [0.0, 0.1], stepper=stepper)
