"""A step whose solve fails is taken in parts: recorded, differentiable, bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import central_difference_error


class Cubic(ipd.HybridModel):
    """du/dt = -50 k u^3; k is steady or, if `unsteady`, 1 + t times as large."""

    k: jax.Array
    unsteady: bool = False

    def latent(self, t):
        return self.k * (1 + t) if self.unsteady else self.k

    def tendency(self, t, u, latent):
        return -50 * latent * u**3


# Newton needs more iterations from u = 20 than these: the step must be halved.
FEW = ipd.NewtonKrylov(max_iterations=8, line_search=False, rtol=1e-12)
U0 = jnp.asarray([[1.0], [6.0], [0.1]])
TIMES = (0.0, 0.2, 0.4)


def run(k=1.0, u0=U0, stepper=None, **kwargs):
    stepper = stepper or ipd.BackwardEuler(solver=FEW)
    model = kwargs.pop("model", None) or Cubic(jnp.asarray(k))
    return ipd.rollout(model, u0, TIMES, stepper=stepper, batch_ndim=1, **kwargs)


@pytest.mark.slow
def test_a_failed_step_is_taken_in_parts_and_says_so():
    whole = run(halving=False, throw=False)
    assert np.asarray(whole.stats.converged)[0].tolist() == [True, False, True]
    result = run()
    halvings = np.asarray(result.stats.halvings)
    assert (halvings[0] > 0).tolist() == [False, True, False]
    # u0 = 6: the parts are backward Euler's own steps
    parts = 2 ** int(halvings[0, 1])
    alone = ipd.rollout(
        Cubic(jnp.asarray(1.0)), U0[1], np.linspace(0, 0.2, parts + 1), stepper=ipd.BackwardEuler()
    )
    np.testing.assert_allclose(result.u[1, 1], alone.u[-1], rtol=1e-7)
    # its neighbours are what they would be alone, to the bit
    np.testing.assert_array_equal(result.u[:, [0, 2]], whole.u[:, [0, 2]])
    assert (np.asarray(result.stats.residual) < 1e-6).all()
    assert result.stats.iterations[0, 1] > FEW.max_iterations


@pytest.mark.slow
def test_the_gradient_is_that_of_the_parts():
    def loss(k):
        result = run(k, halving=True, throw=False)
        return jnp.sum(result.u[1:] ** 2)

    k = jnp.asarray(1.0)
    value_and_slope = jax.jit(jax.value_and_grad(loss))
    slope = value_and_slope(k)[1]
    difference = central_difference_error(
        lambda k: value_and_slope(k)[0], k, jnp.asarray(1.0), slope
    )
    assert difference < 1e-7


@pytest.mark.slow
def test_coefficients_inside_the_parts_are_those_of_their_times():
    model = Cubic(jnp.asarray(1.0), unsteady=True)
    result = run(model=model)
    parts = 2 ** int(result.stats.halvings[0, 1])
    assert parts > 1
    alone = ipd.rollout(model, U0[1], np.linspace(0, 0.2, parts + 1), stepper=ipd.BackwardEuler())
    np.testing.assert_allclose(result.u[1, 1], alone.u[-1], rtol=1e-7)


@pytest.mark.slow
def test_it_is_bounded_and_then_reported():
    hopeless = ipd.BackwardEuler(solver=ipd.NewtonKrylov(max_iterations=1), max_halvings=2)
    result = run(stepper=hopeless, throw=False)
    assert not result.stats.converged[0, 1]
    assert result.stats.halvings[0, 1] == 2
    with pytest.raises(ipd.SolverError, match=r"step 1 of 2 .*sample .*halved 2 times"):
        run(stepper=hopeless)


def test_a_nan_is_not_halved():
    result = run(u0=U0.at[1, 0].set(jnp.nan), throw=False)
    assert np.asarray(result.stats.halvings).max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("stepper", [ipd.CrankNicolson, ipd.BDF2, ipd.KenCarp4])
def test_an_extrapolated_guess_gives_the_same_states_in_fewer_iterations(stepper):
    times = np.linspace(0, 1, 41)
    runs = [
        ipd.rollout(Cubic(jnp.asarray(0.1)), U0[0], times, stepper=stepper(first_guess=guess))
        for guess in ("previous", "extrapolated")
    ]
    np.testing.assert_allclose(runs[0].u, runs[1].u, rtol=1e-6)
    assert runs[1].stats.iterations.sum() < runs[0].stats.iterations.sum()
    assert runs[1].stats.linear_iterations.sum() < runs[0].stats.linear_iterations.sum()
