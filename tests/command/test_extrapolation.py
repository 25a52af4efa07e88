"""When a forecast rests on a field that no data has seen."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from impindiff import HybridModel
from impindiff.experiment._pipeline import extrapolation


class Decay(HybridModel):
    """u' = -latent u."""

    coefficient: Any = eqx.field(static=True)

    def latent(self, t):
        return self.coefficient(t)

    def tendency(self, t, u, latent):
        del t
        return -latent * u


UNSTEADY = Decay(lambda t: 1 + jnp.sin(t))


def test_a_field_that_depends_on_time_is_extrapolated_beyond_the_horizon():
    assert extrapolation(UNSTEADY, "rate", 0.35, 0.4) == (
        "the rate depends on time and is extrapolated: trained until t = 0.35, forecast until "
        "t = 0.4; the training misfit does not bound the error beyond"
    )


def test_up_to_the_horizon_nothing_is_extrapolated():
    for until in (0.2, 0.35, 0.35 * (1 + 1e-12)):
        assert extrapolation(UNSTEADY, "rate", 0.35, until) is None


def test_a_steady_field_is_as_good_at_any_time():
    for coefficient in (lambda t: 2.0, lambda t: None):
        assert extrapolation(Decay(coefficient), "rate", 0.35, 100.0) is None
