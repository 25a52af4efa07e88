"""What is traced for a gradient: each part once, since tracing is most of the wait for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd


class Spreading(ipd.HybridModel):
    """du/dt = div(D grad u), with an unknown field D."""

    grid: ipd.Grid
    D: jax.Array

    def latent(self, t):
        return self.D

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, latent, self.grid)


@pytest.mark.few(2)
@pytest.mark.parametrize("stepper", [ipd.BackwardEuler, ipd.CrankNicolson, ipd.BDF2, ipd.KenCarp4])
@pytest.mark.parametrize("moving", ["parameters alone", "the initial state too"])
def test_a_gradient_builds_one_preconditioner_forward_and_one_back(stepper, moving):
    built = []

    def preconditioner(z, stage):
        built.append(1)
        return lambda v: v

    grid = ipd.Grid(lower=(0.0,), upper=(1.0,), cells=(8,))
    solver = ipd.NewtonKrylov(preconditioner=preconditioner)

    def loss(D, u0):
        model = Spreading(grid, D)
        times = np.asarray([0.0, 0.1])
        result = ipd.rollout(model, u0, times, stepper=stepper(solver=solver), dt=0.05, throw=False)
        return jnp.sum(result.u[-1] ** 2)

    wanted = 0 if moving == "parameters alone" else (0, 1)
    jax.jit(jax.grad(loss, wanted)).lower(jnp.ones(8), jnp.arange(8.0))
    assert len(built) == 2
