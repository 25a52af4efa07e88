"""A right-hand side that was written for Diffrax, advanced by this package."""

import diffrax
import jax.numpy as jnp
import numpy as np

from impindiff.implicit import NewtonKrylov
from impindiff.rollout import rollout
from impindiff.steppers import RK4, CrankNicolson, VectorField

TIMES = np.asarray([0.0, 0.3, 1.0, 2.5])
U0 = {"prey": jnp.asarray(1.5), "predator": jnp.asarray(0.7)}


def lotka_volterra(t, u, rates):
    prey, predator = u["prey"], u["predator"]
    season = 1 + 0.2 * jnp.sin(t)
    return {
        "prey": season * rates[0] * prey - rates[1] * prey * predator,
        "predator": rates[2] * prey * predator - rates[3] * predator,
    }


RATES = jnp.asarray([1.1, 0.8, 0.5, 0.9])


def test_the_solution_is_diffraxs():
    reference = diffrax.diffeqsolve(
        diffrax.ODETerm(lotka_volterra),
        diffrax.Tsit5(),
        TIMES[0],
        TIMES[-1],
        dt0=None,
        y0=U0,
        args=RATES,
        saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
        stepsize_controller=diffrax.PIDController(rtol=1e-11, atol=1e-12),
    ).ys
    assert reference is not None
    model = VectorField(lotka_volterra, RATES)
    explicit = rollout(model, U0, TIMES, stepper=RK4(), dt=0.01)
    implicit = rollout(model, U0, TIMES, stepper=CrankNicolson(NewtonKrylov(rtol=1e-9)), dt=0.005)
    for name in U0:
        np.testing.assert_allclose(explicit.u[name], reference[name], rtol=1e-8)
        np.testing.assert_allclose(implicit.u[name], reference[name], rtol=1e-5)
