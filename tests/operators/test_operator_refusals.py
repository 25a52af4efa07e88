"""Coefficients and boundary values that no operator can use: one line says so."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd

pytestmark = pytest.mark.wrong_types

GRID = ipd.Grid((0,), (1,), (6,), boundary=(ipd.Dirichlet(),))
U = jnp.sin(GRID.centers[0])
NEGATIVE = "the diffusivity is -.* somewhere; expected 0 or more"
COEFFICIENTS = {
    "negative": (-0.1, NEGATIVE),
    "negative somewhere": (np.linspace(-0.1, 1, 6), NEGATIVE),
    "negative, an array": (jnp.asarray(-1.0), NEGATIVE),
    "negative along an axis": ((-1,), NEGATIVE),
    "NaN": (np.nan, "finite"),
    "a NaN": (np.array([1, 1, np.nan, 1, 1, 1]), "finite"),
    "infinite": (jnp.inf, "finite"),
    "complex": (1j, "real numbers, got complex"),
    "complex, an array": (np.ones(6) * 1j, "real numbers, got ndarray"),
    "a parameter": (ipd.Parameter(1.0), "call it for its value"),
    "nothing": (None, "real numbers, got NoneType"),
    "another shape": (np.ones(5), r"got shape \(5,\)"),
}
USES = {
    "diffusion": lambda D: ipd.diffusion(U, D, GRID),
    "advection_diffusion": lambda D: ipd.advection_diffusion(U, (1.0,), D, GRID),
    "Elliptic": lambda D: ipd.Elliptic.of(D, 1.0, GRID),
}


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert not text.endswith(".")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", COEFFICIENTS)
def test_a_diffusivity_that_cannot_be(case, use):
    D, message = COEFFICIENTS[case]
    with pytest.raises(ipd.InputError, match=message) as error:
        USES[use](D)
    one_line(error)


@pytest.mark.parametrize(
    "D", [1, np.int64(1), np.float32(1), True, [1.0], (np.ones(6, int),), jnp.ones(6, jnp.bfloat16)]
)
def test_a_diffusivity_of_one_in_any_form(D):
    for use in USES.values():
        assert jax.tree.all(jax.tree.map(jnp.array_equal, use(D), use(1.0)))


def test_what_rounding_makes_of_zero_is_no_negative_diffusivity():
    assert jnp.all(jnp.isfinite(ipd.diffusion(U, jnp.linspace(-1e-17, 1, 6), GRID)))


@pytest.mark.parametrize(
    ("velocity", "message"),
    [
        ((np.nan,), "velocity of axis 0: expected finite"),
        (1.0, "expected 1 entries"),
        (None, "velocity: expected real numbers"),
        ((ipd.Parameter(1.0),), "call it for its value"),
        (("1",), "expected real numbers, got str"),
    ],
)
def test_a_velocity_that_cannot_be(velocity, message):
    with pytest.raises(ipd.InputError, match=message) as error:
        ipd.advection(U, velocity, GRID)
    one_line(error)


@pytest.mark.parametrize(
    ("wall", "message"),
    [
        (lambda: ipd.Dirichlet(np.nan), "value: expected finite"),
        (lambda: ipd.Neumann(np.array(np.inf)), "value: expected finite"),
        (lambda: ipd.Dirichlet(lambda: 1.0), "cannot be called with a time"),
        (lambda: ipd.Dirichlet(lambda t, x: 1.0), "cannot be called with a time"),
        (lambda: ipd.Dirichlet(cast(Any, lambda t: None)), "real numbers, got NoneType"),
        (lambda: ipd.Dirichlet(cast(Any, "1")), "real numbers, got str"),
        (lambda: ipd.Neumann(1j), "real numbers, got complex"),
        (lambda: ipd.Dirichlet(np.ones(3)), r"shape \(3,\) does not fit"),
        (lambda: ipd.Robin(np.nan, 1.0), "a: expected finite"),
        (lambda: ipd.Robin(1.0, np.inf), "b: expected finite"),
    ],
)
def test_a_wall_that_cannot_be(wall, message):
    with pytest.raises(ipd.InputError, match=message) as error:
        ipd.diffusion(U, 1.0, GRID, boundary=(wall(),), t=0.0)
    one_line(error)


@pytest.mark.parametrize("u", [[1.0] * 6, None, np.ones(6, int), np.ones(6) * 1j, np.ones(5)])
def test_a_field_that_cannot_be(u):
    with pytest.raises(ipd.InputError, match="u: ") as error:
        ipd.diffusion(u, 1.0, GRID)
    one_line(error)


class Heat(ipd.HybridModel):
    grid: ipd.Grid
    D: jax.Array

    def latent(self, t):
        return self.D * jnp.cos(t)

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, latent, self.grid)


@pytest.mark.parametrize("stepper", [ipd.CrankNicolson(), ipd.RK4()], ids=["implicit", "explicit"])
def test_a_diffusivity_that_becomes_negative_is_a_status(stepper):
    """cos(t) is below 0 from pi/2 on; the sample that it belongs to is no matter."""
    model, times = Heat(GRID, jnp.asarray(1e-3)), [0.0, 1.0, 2.0, 3.0]
    result = ipd.rollout(model, jnp.stack([U, U]), times, stepper=stepper, dt=0.5, throw=False)
    fine = np.asarray(result.step_times[1:]) < np.pi / 2
    np.testing.assert_array_equal(result.stats.converged, np.stack([fine, fine], 1))
    assert jnp.all((result.stats.outcome == ipd.Outcome.ill_posed) == ~result.stats.converged)
    with pytest.raises(ipd.SolverError, match="a diffusivity or a mass is negative"):
        result.raise_for_failure()
