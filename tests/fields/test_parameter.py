"""Unknown numbers start where they are told to and stay inside their bounds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from impindiff import InputError, Parameter

KINDS = [
    pytest.param({}, id="free"),
    pytest.param({"lower": 0.0}, id="positive"),
    pytest.param({"upper": 5.0}, id="below"),
    pytest.param({"lower": 1.0, "upper": 5.0}, id="between"),
]


@pytest.mark.parametrize("bounds", KINDS)
def test_starts_at_the_guess_and_rises_with_what_is_trained(bounds):
    found = Parameter(2.0, **bounds)
    assert float(found()) == pytest.approx(2.0, rel=1e-15)
    assert float(jax.grad(lambda p: p())(found).raw) > 0


@pytest.mark.parametrize("bounds", KINDS[1:])
@pytest.mark.parametrize("raw", [-30.0, 30.0])
def test_stays_inside_its_bounds(bounds, raw):
    moved = eqx.tree_at(lambda p: p.raw, Parameter(2.0, **bounds), jnp.asarray(raw))
    assert bounds.get("lower", -jnp.inf) <= moved() <= bounds.get("upper", jnp.inf)


def test_one_step_moves_a_number_by_its_own_size():
    def moved(start, **kwargs):
        return float(eqx.tree_at(lambda p: p.raw, Parameter(start, **kwargs), jnp.asarray(0.5))())

    assert moved(1e-5) == pytest.approx(1.5e-5)
    assert moved(-1e3) == pytest.approx(-500.0)
    assert moved(0.0) == pytest.approx(0.5)
    assert moved(1.0, scale=0.1) == pytest.approx(1.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"start": 0.0, "lower": 0.0}, "start 0 is not between 0 and inf"),
        ({"start": 7.0, "upper": 5.0}, "not between -inf and 5"),
        ({"start": float("nan")}, "start inside"),
        ({"start": 1.0, "scale": 0.0}, "scale is 0"),
    ],
)
def test_refuses_a_start_outside_the_bounds(arguments, words):
    with pytest.raises(InputError, match=words):
        Parameter(**arguments)
