"""Coefficients of which every sample of a batch has its own."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from impindiff.implicit import ImplicitAdjoint, NewtonKrylov
from impindiff.rollout import rollout
from impindiff.rollout.samples import of_sample
from impindiff.steppers import CrankNicolson, HybridModel, PerSample

TIMES = (0.0, 0.1, 0.3)
# From u0 = 3 Newton needs more iterations than these: the step must be halved.
FEW = CrankNicolson(
    NewtonKrylov(max_iterations=6, line_search=False, rtol=1e-12), ImplicitAdjoint(rtol=1e-13)
)
RATES = np.asarray([5.0, 1.0, 20.0, 50.0])
STATES = np.asarray([[1.0, 0.5], [0.1, 0.7], [3.0, 2.0], [0.2, 0.3]])
HALVED = 2


class Reaction(HybridModel):
    """u' = -k (1 + t) u^3 + q u, where 1 + t only if `unsteady`; k is the samples', q is shared."""

    k: Array
    q: Array
    unsteady: bool = eqx.field(static=True)

    def latent(self, t):
        k = self.k * (1 + t) if self.unsteady else self.k
        return {"own": PerSample(k), "shared": self.q}

    def tendency(self, t, u, latent):
        return -latent["own"] * u**3 + latent["shared"] * u


@eqx.filter_jit
def value_and_gradient(k, u0, unsteady, halving):
    """(gradient with respect to k and u0, result) of a batch, or of one sample."""

    @eqx.filter_grad(has_aux=True)
    def loss(parameters):
        k, u0 = parameters
        model = Reaction(k, jnp.asarray(0.3), unsteady)
        result = rollout(
            model, u0, TIMES, stepper=FEW, batch_ndim=k.ndim, halving=halving, throw=False
        )
        return jnp.sum(jnp.sin(result.u)), result

    return loss((k, u0))


@cache
def one_by_one(unsteady, halving):
    return [
        value_and_gradient(jnp.asarray(k), jnp.asarray(u0), unsteady, halving)
        for k, u0 in zip(RATES, STATES, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "unsteady", "halving"),
    [((4,), False, False), ((2, 2), True, False), ((4,), True, True), ((2, 2), True, True)],
)
def test_a_batch_is_its_samples(batch, unsteady, halving):
    """Trajectory, statistics and gradient; of samples whose steps are halved, and others."""
    k, u0 = jnp.asarray(RATES.reshape(batch)), jnp.asarray(STATES.reshape(*batch, 2))
    (of_k, of_u0), result = value_and_gradient(k, u0, unsteady, halving)
    halvings = np.asarray(result.stats.halvings).reshape(2, 4)
    assert (halvings[0] > 0).tolist() == [halving and i == HALVED for i in range(4)]
    for i, ((of_own_k, of_own_u0), own) in enumerate(one_by_one(unsteady, halving)):
        if i == HALVED and not halving:
            assert not np.all(own.stats.converged)
            continue
        assert np.all(own.stats.converged)
        np.testing.assert_allclose(result.u.reshape(3, 4, 2)[:, i], own.u, rtol=1e-10)
        np.testing.assert_allclose(of_k.reshape(4)[i], of_own_k, rtol=1e-9)
        np.testing.assert_allclose(of_u0.reshape(4, 2)[i], of_own_u0, rtol=1e-9)
        for all, one in zip(
            jax.tree.leaves(result.stats.iterations), jax.tree.leaves(own.stats.iterations),
            strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(all.reshape(2, 4)[:, i], one)


class Conditioned(HybridModel):
    """u' = -k u + t, with k from a table of the samples."""

    rates: np.ndarray

    def latent(self, t):
        return {"own": PerSample(self.rates), "heating": t}

    def tendency(self, t, u, latent):
        return -latent["own"] * u + latent["heating"]


@pytest.mark.slow
def test_numbers_of_the_samples_may_be_numpys_where_another_part_changes():
    rates = np.array([1.0, 2.0, 5.0])
    found = rollout(Conditioned(rates), jnp.ones(3), [0.0, 1.0], dt=1e-3).u[-1]
    exact = (1 + 1 / rates**2) * np.exp(-rates) + 1 / rates - 1 / rates**2
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    one = jax.vmap(lambda index: of_sample(PerSample(rates), index[None]))(jnp.arange(3))
    np.testing.assert_array_equal(one, rates)
