"""The no-U-turn sampler: a normal posterior that is known, and one that is not normal."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.inference import nuts
from impindiff.training import GaussianPrior, TrajectoryLoss

TIMES = (0.0, 0.5, 1.0)


class Drift(ipd.HybridModel):
    """u' = a + exp(b) t, the first linear, the second not."""

    grid: ipd.Grid
    a: jax.Array
    b: jax.Array

    def tendency(self, t, u, latent):
        return self.a + jnp.exp(self.b) * t * jnp.ones_like(u)


def loss(prior=None):
    return TrajectoryLoss(
        u0=jnp.zeros((1, 2)),
        times=TIMES,
        values=jnp.asarray([[[0.5, 0.5]], [[1.5, 1.5]]]),
        observe=lambda u: u[1:],
        stepper=ipd.RK4(),
        dt=0.5,
        weights=jnp.full((2, 1, 2), 4.0),
        prior=prior,
    )


def model(a, b):
    return Drift(ipd.Grid((0.0,), (1.0,), (2,)), jnp.asarray(a), jnp.asarray(b))


@pytest.mark.slow
def test_draws_have_the_moments_of_the_exact_density():
    """Of a and b, by sums over a fine lattice: b is skewed, which no normal density is."""
    pytest.importorskip("blackjax")
    prior = GaussianPrior(lambda m: m.b, 1.0)
    found = nuts(model(0.75, 0.35), loss(prior), draws=6000, warmup=150)
    a, b = np.meshgrid(np.linspace(-2, 4, 601), np.linspace(-6, 4, 601), indexing="ij")
    u = [a * t + np.exp(b) * t**2 / 2 for t in TIMES[1:]]
    energy = 2 * 16 * ((u[0] - 0.5) ** 2 + (u[1] - 1.5) ** 2) / 2 + b**2 / 2
    density = np.exp(-energy) / np.exp(-energy).sum()
    draws = found.of(lambda m: jnp.stack([m.a, m.b]))
    for exact, ours in zip((a, b), draws.T, strict=True):
        mean = np.sum(density * exact)
        deviation = np.sqrt(np.sum(density * (exact - mean) ** 2))
        assert float(jnp.mean(ours)) == pytest.approx(mean, abs=0.1 * deviation)
        assert float(jnp.std(ours)) == pytest.approx(deviation, rel=0.1)
    assert found.divergences < 20
    assert (found.r_hat < 1.05).all()
    spread = found.standard_deviation(lambda m: m.a)
    assert float(spread) == pytest.approx(float(jnp.std(draws[:, 0], ddof=1)))


def test_without_blackjax_or_with_many_parameters_it_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "blackjax", None)
        with pytest.raises(ipd.InputError, match=r"impindiff\[nuts\]"):
            nuts(model(0.75, 0.35), loss())
    pytest.importorskip("blackjax")
    many = Drift(ipd.Grid((0.0,), (1.0,), (31,)), jnp.zeros(31), jnp.zeros(()))
    with pytest.raises(ipd.InputError, match="at most 30 parameters, the model has 32"):
        nuts(many, loss(), freeze=())
