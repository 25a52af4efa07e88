"""A local law: what it contains, one for each field, and how it is made like a hybrid model."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.fields import BoundedField
from impindiff.grid import Dirichlet, Neumann
from impindiff.methods._layers import SMALL
from impindiff.methods._local_law import LocalLaw, local_law_like
from impindiff.problems import get_problem
from impindiff.rollout import depends_on_time
from impindiff.settings import load_settings

KEY = jax.random.key(5)
ZERO = jnp.zeros(())


def upwind_coefficients(velocity, diffusivity, grid):
    """Those with which a linear local law is upwind advection with diffusion, constant v > 0."""
    (vx, vy), (hx, hy) = velocity, grid.spacing
    rates = {
        (0, 1): vx / hx + diffusivity / hx**2,
        (2, 1): diffusivity / hx**2,
        (1, 0): vy / hy + diffusivity / hy**2,
        (1, 2): diffusivity / hy**2,
    }
    offsets = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    rows = [0.0, *(rates.get(offset, 0.0) for offset in offsets)]
    return jnp.asarray(rows)[:, None, None] * jnp.ones((1, *grid.cells))


def local_law(grid, degree, fields=1):
    outputs = LocalLaw.components(grid.ndim, degree, fields)
    field = ipd.ConditionalField(
        outputs, grid.lower, grid.upper, width=4, depth=1, key=jax.random.key(0)
    )
    return LocalLaw(grid, field, degree)


@pytest.mark.slow
def test_upwind_advection_with_diffusion_is_a_local_law():
    grid = ipd.Grid((0.0, 0.0), (2.0, 1.0), (12, 8))
    velocity, diffusivity = (0.7, 0.3), 0.02
    law = local_law(grid, 1)
    u = jax.random.normal(jax.random.key(0), grid.cells)
    found = law.tendency(jnp.zeros(()), u, upwind_coefficients(velocity, diffusivity, grid))
    v = jnp.asarray(velocity)[:, None, None] * jnp.ones((2, *grid.cells))
    np.testing.assert_allclose(found, ipd.advection_diffusion(u, v, diffusivity, grid), atol=1e-12)


def test_the_quadratic_law_contains_the_gradient_of_half_the_square():
    grid = ipd.Grid((0.0,), (1.0,), (10,), boundary=(Neumann(),))
    law = local_law(grid, 2)
    u = jax.random.normal(jax.random.key(0), grid.cells)
    # rows: u itself; left and right, linear; left and right, quadratic
    rows = jnp.array([0.0, 0.0, 0.0, 0.5, -0.5]) / grid.spacing[0]
    coefficients = rows[:, None] * jnp.ones((1, 10))
    padded = jnp.concatenate([u[:1], u, u[-1:]])
    expected = -(padded[2:] ** 2 - padded[:-2] ** 2) / 2 / (2 * grid.spacing[0])
    np.testing.assert_allclose(law.tendency(jnp.zeros(()), u, coefficients), expected, atol=1e-12)


def test_walls_may_differ_along_themselves_and_in_time():
    """Diffusion between walls with values on each face and values that are functions of time."""
    profile = np.linspace(0.5, 1.5, 6)
    grid = ipd.Grid(
        (0.0, 0.0),
        (1.0, 2.0),
        (6, 4),
        boundary=(
            (Dirichlet(lambda t: jnp.sin(t)), Neumann(np.arange(4.0))),
            (Dirichlet(lambda t: t * jnp.asarray(profile)), Dirichlet(profile)),
        ),
    )
    u, t = jax.random.normal(KEY, grid.cells), jnp.asarray(0.7)
    found = local_law(grid, 1).tendency(t, u, upwind_coefficients((0.0, 0.0), 0.3, grid))
    np.testing.assert_allclose(found, ipd.diffusion(u, 0.3, grid, t=t), atol=1e-11)


def test_each_field_has_a_law_of_its_own():
    grid = ipd.Grid((0.0,), (1.0,), (5,))
    assert LocalLaw.components(1, 2, fields=2) == 2 * LocalLaw.components(1, 2) == 10
    a, b = jax.random.normal(KEY, (2, 5))
    law = local_law(grid, 2, fields=2)
    coefficients = law.latent(ZERO)
    found = law.tendency(ZERO, {"b": b, "a": a}, coefficients)
    one = local_law(grid, 2)
    np.testing.assert_array_equal(found["a"], one.tendency(ZERO, a, coefficients[:5]))
    np.testing.assert_array_equal(found["b"], one.tendency(ZERO, b, coefficients[5:]))


@pytest.mark.parametrize("state", [{"a": jnp.ones(5), "b": jnp.ones(5)}, jnp.ones((2, 5))])
def test_a_state_of_other_fields_is_refused(state):
    law = local_law(ipd.Grid((0.0,), (1.0,), (5,)), 1)
    with pytest.raises(InputError, match=r"LocalLaw: 3 coefficients for fields of shapes"):
        law.tendency(ZERO, state, law.latent(ZERO))


class Reaction(ipd.HybridModel):
    """Two species with whatever unknown parts."""

    grid: ipd.Grid
    parts: dict

    def latent(self, t):
        return {name: part(t) for name, part in self.parts.items() if name == "rate"}

    def tendency(self, t, u, latent):
        return u


BOX = ipd.Grid((0.0, -1.0), (1.0, 3.0), (4, 3), boundary=(ipd.Periodic(), Neumann()))
STATE = {"a": jnp.ones(BOX.cells), "b": jnp.ones(BOX.cells)}
COMPONENTS = LocalLaw.components(2, 1, fields=2)


def coefficients_like(parts):
    law = local_law_like(Reaction(BOX, parts), STATE, 1, until=2.0, key=KEY)
    assert law.grid is BOX
    found = eqx.filter_eval_shape(lambda law: law.tendency(ZERO, STATE, law.latent(ZERO)), law)
    assert jax.tree.structure(found) == jax.tree.structure(STATE)
    return law


def nearly_persistent(field):
    """The field with small last weights."""
    last = [SMALL * x for x in (field.network.weights[-1], field.network.biases[-1])]
    return eqx.tree_at(lambda f: [f.network.weights[-1], f.network.biases[-1]], field, last)


def test_a_law_is_like_the_first_field_on_the_axes_of_the_grid():
    sizes = {"width": 5, "depth": 2, "omega_first": 7.0, "omega": 20.0, "periodic": (True, False)}
    lower, upper = (0.0, 0.0), (2.0, 2.0)
    time = {"conditioning": "modulation", "time": ipd.TimeBasis(0.0, 4.0, order=2)}
    other = jax.random.key(6)
    parts = {
        "a curve": ipd.ConditionalField(1, (0.0,), (1.0,), key=other),
        "here": BoundedField(
            ipd.ConditionalField(1, lower, upper, **sizes, **time, key=other), 0.0, 1.0
        ),
        "later": ipd.ConditionalField(1, (0.0, 0.0), (9.0, 9.0), key=other),
    }
    expected = ipd.ConditionalField(COMPONENTS, lower, upper, **sizes, **time, key=KEY)
    law = coefficients_like(parts)
    assert eqx.tree_equal(law.coefficients, nearly_persistent(expected))
    assert depends_on_time(law, ZERO)


@pytest.mark.parametrize("timed", [False, True])
def test_a_law_like_a_model_without_a_field_depends_on_time_if_the_model_does(timed):
    parts = {"rate": jnp.sin if timed else lambda t: jnp.ones(3)}
    time = {"conditioning": "last_layer", "time": ipd.TimeBasis(0.0, 2.0)} if timed else {}
    expected = ipd.ConditionalField(
        COMPONENTS, BOX.lower, BOX.upper, periodic=(True, False), omega_first=10.0, **time, key=KEY
    )
    law = coefficients_like(parts)
    assert eqx.tree_equal(law.coefficients, nearly_persistent(expected))
    assert depends_on_time(law, ZERO) == timed


def test_a_law_like_a_model_without_a_grid_is_refused():
    model = ipd.VectorField(lambda t, u, args: -u)
    with pytest.raises(InputError, match="VectorField has none; give the model a field `grid`"):
        local_law_like(model, STATE, 1, until=1.0, key=KEY)


@pytest.mark.parametrize("timed", [False, True])
def test_the_law_of_a_problem_does_not_depend_on_its_units(timed):
    """In cells of 3e-6 and times of 2e9, a law changes the state as much over the time range."""
    length, time = 3e-6, 2e9
    parts = {"rate": jnp.sin if timed else lambda t: jnp.ones(3)}
    small = ipd.Grid((0.0, -length), (length, 3 * length), BOX.cells, boundary=BOX.boundary)
    key = jax.random.key(7)
    state = {name: jax.random.normal(key, BOX.cells) for name in STATE}
    changes = []
    for grid, start, until in ((BOX, 1.0, 2.0), (small, time, 2 * time)):
        law = local_law_like(Reaction(grid, parts), state, 2, start=start, until=until, key=KEY)
        t = jnp.asarray(1.3 * start)
        changes.append(
            jax.tree.map(
                lambda x: (until - start) * x,  # noqa: B023
                law.tendency(t, state, law.latent(t)),
            )
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *changes)


@pytest.mark.parametrize("name", ["advection_diffusion_steady", "advection_diffusion_dynamic"])
def test_a_law_like_a_problems_model_has_the_problems_own_network(name):
    problem: Any = get_problem(name)
    given = {
        "grid": {"cells": [4, 5], "boundary": ["zero_gradient", "periodic"]},
        "field": {"width": 6, "depth": 2},
        "method": {"name": "local_law", "degree": 2},
    }
    settings = load_settings(problem.settings, given)
    grid = settings.grid.build()
    model = problem.model(settings, KEY)
    law = local_law_like(model, jnp.ones((4, 5)), 2, until=1.0, timescale=0.3, key=KEY)
    expected = problem.field(settings, LocalLaw.components(2, 2), KEY)
    assert eqx.tree_equal(law, LocalLaw(grid, nearly_persistent(expected), 2, 0.3))


@pytest.mark.slow
def test_ghosts_of_radii_and_stretched_axes():
    grid = ipd.Grid.from_edges(
        ([0.0, 0.1, 0.3, 0.7], [0.0, 1.0, 3.0]), (Dirichlet(2.0), Neumann(0.5)), "cylindrical"
    )
    law = local_law(grid, 1)
    u = jnp.arange(6.0).reshape(3, 2)
    one = jnp.zeros((1, *grid.cells))
    offsets = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]

    def difference(offset):
        rows = [one, *(one + 1 if o == offset else one for o in offsets)]
        return law.tendency(ZERO, u, jnp.concatenate(rows)) * law.timescale

    # beyond the axis the mirror image, beyond the outer side 2 g - u, beyond the top u + h g
    np.testing.assert_allclose(difference((0, 1))[0], 0.0, atol=1e-13)
    np.testing.assert_allclose(difference((2, 1))[2], 4 - 2 * u[2])
    np.testing.assert_allclose(difference((1, 2))[:, 1], 2.0 * 0.5)
    np.testing.assert_allclose(difference((1, 0))[:, 0], 1.0 * 0.5)
