"""Every sample is its own system; and how a failure is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import GRID, TIMES, Decay, TwoGases, blobs, transport

from impindiff.errors import SolverError
from impindiff.implicit import NewtonKrylov
from impindiff.rollout import rollout
from impindiff.steppers import RK4, CrankNicolson, KenCarp4

MODEL = transport()
STEPS = len(TIMES) - 1
BATCH = blobs(4)
OTHERS = np.asarray([0, 1, 3])


@pytest.fixture(scope="module")
def result():
    return rollout(MODEL, BATCH, TIMES)


@pytest.mark.slow
def test_shapes_of_one_and_two_batch_axes(result):
    assert result.u.shape == (len(TIMES), 4, *GRID.shape)
    assert {leaf.shape for leaf in jax.tree.leaves(result.stats)} == {(STEPS, 4)}
    two = rollout(MODEL, BATCH.reshape(2, 2, *GRID.shape), TIMES)
    assert {leaf.shape for leaf in jax.tree.leaves(two.stats)} == {(STEPS, 2, 2)}
    np.testing.assert_allclose(two.u.reshape(result.u.shape), result.u, rtol=1e-12)


@pytest.mark.slow
def test_a_batch_equals_a_loop(result):
    for i in range(len(BATCH)):
        single = rollout(MODEL, BATCH[i], TIMES)
        np.testing.assert_allclose(result.u[:, i], single.u, rtol=1e-12)
        np.testing.assert_array_equal(
            result.stats.linear_iterations[:, i], single.stats.linear_iterations
        )


@pytest.mark.slow
def test_samples_iterate_as_much_as_each_needs():
    """A uniform field is at rest: solved at once, whatever its neighbour takes."""
    stats = rollout(MODEL, BATCH.at[1].set(1.0), TIMES).stats
    assert np.all(stats.linear_iterations[:, 1] < stats.linear_iterations[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_lost_sample_leaves_its_neighbours_bit_for_bit(result, value):
    spoilt = rollout(MODEL, BATCH.at[2, 3, 1].set(value), TIMES, throw=False)
    np.testing.assert_array_equal(spoilt.u[:, OTHERS], result.u[:, OTHERS])
    for got, expected in zip(
        jax.tree.leaves(spoilt.stats), jax.tree.leaves(result.stats), strict=True
    ):
        np.testing.assert_array_equal(got[:, OTHERS], expected[:, OTHERS])
    assert not np.any(spoilt.stats.converged[:, 2])


@pytest.mark.slow
def test_the_gradient_of_the_neighbours_is_untouched():
    weights = jnp.asarray([1.0, 1.0, 0.0, 1.0])

    @jax.jit
    def gradient(u0):
        def loss(u0):
            last = rollout(MODEL, u0, TIMES, throw=False).u[-1]
            return jnp.sum(weights[:, None, None] * last**2)

        return jax.grad(loss)(u0)

    spoilt = gradient(BATCH.at[2, 3, 1].set(jnp.nan))
    np.testing.assert_array_equal(spoilt[OTHERS], gradient(BATCH)[OTHERS])


@pytest.mark.slow
def test_the_error_names_step_time_sample_and_field():
    with pytest.raises(SolverError) as failure:
        rollout(MODEL, BATCH.at[2, 3, 1].set(jnp.nan), TIMES)
    message = str(failure.value)
    for part in ("step 1 of 3", "t = 0 to 0.05", "sample 2", "field u", "NaN"):
        assert part in message
    assert "\n" not in message
    assert failure.value.code == "not_finite"
    two_lost = BATCH.at[1:3, 3, 1].set(jnp.nan).reshape(2, 2, *GRID.shape)
    with pytest.raises(
        SolverError, match=r"sample \(0, 1\).*samples that failed: \(0, 1\), \(1, 0\)"
    ):
        rollout(MODEL, two_lost, TIMES)


def test_the_error_names_the_first_step_that_failed():
    model = Decay(lambda t: jnp.where(t > 0.5, jnp.nan, 1.0))
    with pytest.raises(SolverError, match=r"step 3 of 4 \(t = 0.4 to 0.6\): field u"):
        rollout(model, jnp.ones(2), np.asarray([0.0, 0.2, 0.4, 0.6, 0.8]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "stepper", [CrankNicolson(), KenCarp4(), RK4()], ids=["implicit", "stages", "explicit"]
)
def test_the_error_names_the_field_of_a_state_of_two(stepper):
    u0 = {"fuel": jnp.ones(3), "oxygen": jnp.ones(3)}
    model = TwoGases(jnp.asarray([1.0, 1.0, 1.0]))
    assert np.all(rollout(model, u0, TIMES, stepper=stepper).stats.converged)

    class OxygenLost(TwoGases):
        def tendency(self, t, u, latent):
            return {"fuel": -u["fuel"], "oxygen": jnp.nan * u["oxygen"]}

    with pytest.raises(SolverError, match=r"field \['oxygen'\]"):
        rollout(OxygenLost(model.rate), u0, TIMES, stepper=stepper)


@pytest.mark.slow
def test_without_throw_the_statistics_tell():
    stepper = CrankNicolson(NewtonKrylov(max_iterations=1, rtol=1e-14))
    lazy = rollout(Decay(lambda t: 1.0), jnp.ones(2), TIMES, stepper=stepper, throw=False)
    assert not np.any(lazy.stats.converged)
    assert np.all(np.isfinite(lazy.u))
    with pytest.raises(SolverError, match="max_iterations"):
        lazy.raise_for_failure()


@pytest.mark.slow
def test_inside_jit_a_failure_is_a_run_time_error():
    run = jax.jit(lambda u0: rollout(MODEL, u0, TIMES).u)
    np.testing.assert_allclose(run(BATCH), rollout(MODEL, BATCH, TIMES).u, rtol=1e-12)
    with pytest.raises(Exception, match="a solve did not converge"):
        jax.block_until_ready(run(BATCH.at[2, 3, 1].set(jnp.nan)))


@pytest.mark.slow
def test_a_success_raises_nothing(result):
    result.raise_for_failure()
    assert np.all(result.stats.converged)
