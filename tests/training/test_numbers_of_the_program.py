"""Runs that differ in numbers alone are the same program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.problems import get_problem
from impindiff.settings import load_settings
from impindiff.training._algorithm import algorithm_of


def settings_of(**training: Any) -> Any:
    problem: Any = get_problem("advection_diffusion_steady")
    return load_settings(problem.settings, {"training": {"steps": 10, **training}}).training


def updated(training: Any, parameters: Any, gradient: Any) -> tuple[Any, Any]:
    """(the program of one update, its result)."""
    algorithm: Any = algorithm_of(training.build())
    state = algorithm.start(parameters, None, None)

    def update(algorithm, gradient, state):
        return algorithm._transformation.update(gradient, state, parameters)

    compiled: Any = eqx.filter_jit(update)
    lowered = compiled.lower(algorithm, gradient, state)
    return lowered.lowered.as_text(), update(algorithm, gradient, state)[0]


@pytest.mark.few(1)
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_another_learning_rate_is_the_same_program(optimizer, dtype):
    parameters = {"a": jnp.ones((3, 2), dtype), "b": jnp.ones(4, dtype)}
    gradient = jax.tree.map(lambda x: 0.3 * x, parameters)
    more = {"clip": 0.2, "rates": {"['a']": 2.0}, "warmup": 2, "optimizer": optimizer}
    other = more | {"clip": 0.1, "rates": {"['a']": 6.0}}
    if optimizer == "adam":
        more, other = more | {"weight_decay": 0.1}, other | {"weight_decay": 0.2}
    first, small = updated(settings_of(learning_rate=1e-3, **more), parameters, gradient)
    second, large = updated(settings_of(learning_rate=1e-2, **other), parameters, gradient)
    assert first == second
    assert {x.dtype for x in jax.tree.leaves(small)} == {jnp.dtype(dtype)}
    # and they are different numbers: 10 x the rate; 3 x the factor of part a
    decayed = {"adam": (1 + 0.2) / (1 + 0.1), "muon": 1.0}[optimizer]
    np.testing.assert_allclose(large["b"], 10 * decayed * small["b"], rtol=1e-5)
    np.testing.assert_allclose(large["a"], 30 * decayed * small["a"], rtol=1e-5)


@pytest.mark.slow
def test_another_tolerance_is_the_same_program():
    problem: Any = get_problem("advection_diffusion_steady")
    model = ipd.VectorField(lambda t, u, args: -(u**2))
    programs, found = [], []
    for rtol in (1e-2, 1e-10):
        numbers = {"solver": {"rtol": rtol, "atol": rtol**2}, "adjoint": {"rtol": rtol}}
        stepper = problem.stepper(load_settings(problem.settings, numbers))

        def value(stepper, u0):
            return jnp.sum(ipd.rollout(model, u0, [0.0, 0.5], stepper=stepper, dt=0.5).u[-1])

        solve: Any = eqx.filter_jit(lambda s, u0, value=value: jax.value_and_grad(value, 1)(s, u0))
        lowered = solve.lower(stepper, jnp.ones(3))
        programs.append(lowered.lowered.as_text())
        found.append(float(solve(stepper, jnp.ones(3))[0]))
    assert programs[0] == programs[1]
    assert abs(found[0] - found[1]) > 1e-6
