"""Several solves that depend on each other, told as one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from impindiff.implicit import Outcome, Status

OUTCOMES = (Outcome.converged, Outcome.max_iterations, Outcome.not_finite)


def of_three(outcomes, residuals) -> Status:
    chosen = [OUTCOMES[i] for i in outcomes]
    return Status(
        converged=jnp.asarray([i == 0 for i in outcomes]),
        iterations=jnp.asarray([1, 2, 4]),
        linear_iterations=jnp.asarray([10, 20, 40]),
        residual=jnp.asarray(residuals),
        worst_leaf=jnp.asarray([5, 6, 7]),
        outcome=jax.tree.map(lambda *all: jnp.stack(all), *chosen),
        halvings=jnp.asarray([0, 1, 2]),
    )


def test_the_first_that_failed_tells_why_and_where():
    status = of_three((0, 1, 2), (3.0, 0.5, jnp.nan)).combined()
    assert not status.converged
    assert int(status.worst_leaf) == 6
    assert float(status.residual) == 0.5
    assert bool(status.outcome == Outcome.max_iterations)


def test_without_a_failure_the_largest_residual_tells():
    status = of_three((0, 0, 0), (0.1, 0.2, 0.3)).combined()
    assert status.converged
    assert int(status.worst_leaf) == 7
    assert float(status.residual) == 0.3
    assert bool(status.outcome == Outcome.converged)


def test_iterations_are_added():
    status = of_three((0, 1, 0), (0.1, 0.2, 0.3)).combined()
    assert int(status.iterations) == 7
    assert int(status.linear_iterations) == 70
    assert int(status.halvings) == 3


def test_every_sample_by_itself():
    two = (of_three((0, 0, 1), (0.1, 0.2, 0.3)), of_three((0, 0, 0), (0.9, 0.2, 0.3)))
    status = jax.tree.map(lambda *all: jnp.stack(all, 1), *two).combined()
    np.testing.assert_array_equal(status.converged, [False, True])
    np.testing.assert_array_equal(status.worst_leaf, [7, 5])
    assert eqx.tree_equal(
        jax.vmap(Status.combined, 1)(jax.tree.map(lambda *a: jnp.stack(a, 1), *two)), status
    )
