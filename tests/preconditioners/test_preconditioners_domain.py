"""Preconditioners on a grid of which a domain is only a part."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.implicit.linear import krylov_solve

WALLS = (ipd.Neumann(), ipd.Neumann())


def with_hole(x, y):
    return np.maximum(np.hypot(x - 0.013, y - 0.021) - 0.83, 0.3 - np.hypot(x - 0.25, y - 0.1))


def grid_of(n: int, embedded: Any) -> ipd.Grid:
    return ipd.Grid((-1.0, -1.0), (1.0, 1.0), (n, n), WALLS, domain=with_hole, embedded=embedded)


@pytest.mark.few(1)
@pytest.mark.parametrize("embedded", [ipd.Dirichlet(), ipd.Neumann()], ids=["values", "fluxes"])
def test_iterations_of_multigrid_hardly_grow_for_jumping_coefficients(embedded):
    counts = []
    for n in (16, 48):
        grid = grid_of(n, embedded)
        x, y = grid.centers
        D = jnp.where(x + 0.3 * jnp.sin(5 * y) > 0, 1e-3, 1.0)
        noise = np.random.default_rng(0).normal(size=grid.shape)

        @jax.jit
        def solve(b, D=D, grid=grid):
            A = ipd.Elliptic.of(D, 1e-6, grid)
            found = krylov_solve(A, b, ipd.BiCGStab(max_steps=100), 1e-9, ipd.multigrid_cycle(A))
            return found[0], found[1], A(found[0])

        b = jnp.asarray(np.where(grid.inside, noise, 0.0))
        u, count, product = solve(b)
        assert jnp.linalg.norm(product - b) < 1e-7 * jnp.linalg.norm(b)
        assert np.all(np.asarray(u)[~np.asarray(grid.inside)] == 0)
        counts.append(int(count))
    assert counts[1] <= 1.5 * counts[0]
    assert counts[1] <= 8


class Cooling(ipd.HybridModel):
    """Diffusion on a grid that is a latent part, since its hole moves."""

    at: jax.Array

    def latent(self, t):
        def phi(x, y):
            return jnp.maximum(with_hole(x, y), 0.2 - jnp.hypot(x + 0.4, y - self.at))

        return ipd.Grid((-1.0, -1.0), (1.0, 1.0), (12, 12), WALLS, domain=phi,
                        embedded=ipd.Robin(1.0, 0.5, 0.2))  # fmt: skip

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, 1.0, latent)


@pytest.mark.slow
def test_steps_take_the_latent_grid_and_are_differentiable_in_it():
    solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid(), rtol=1e-12)
    stepper = ipd.BackwardEuler(solver=solver, adjoint=ipd.ImplicitAdjoint(rtol=1e-12))
    seen = grid_of(12, None).inside & (np.arange(12) < 5)

    @jax.jit
    @jax.value_and_grad
    def misfit(at):
        u0 = jnp.where(seen, 1.0, 0.5)
        states = ipd.rollout(Cooling(at), u0, np.asarray([0.0, 0.3]), stepper=stepper, dt=0.1).u
        return jnp.sum(seen * states[-1] ** 2)

    at, step = 0.07, 1e-5
    found = misfit(at)[1]
    differences = float(misfit(at + step)[0] - misfit(at - step)[0]) / (2 * step)
    assert float(found) == pytest.approx(differences, rel=1e-6)
