"""Streambed with a flow that changes: how fast water seeps down, day by day.

dT/dt = kappa d2T/dx2 - v(t) dT/dx; kappa, a smooth v(t) and the thermometers' offsets are unknown

    impindiff run streambed_flow.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from streambed_heat import DAY, Streambed, thermometers
from streambed_heat import Problem as Constant
from streambed_heat import Settings as OfConstant

import impindiff as ipd
from impindiff.inference import laplace
from impindiff.problem import Findings, Series
from impindiff.training import MaternPrior


def unknown_velocity():
    end = thermometers()[0][-1]
    return ipd.ModalField(1, (0.1,), (0.4,), modes=1, time=(0.0, end), time_modes=14)


class Flow(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: ipd.Parameter  # kappa, in m^2/s
    velocity: ipd.ModalField  # of the time alone, in 1e-6 m/s, downward
    offset: dict[str, ipd.Parameter]  # of a thermometer, in K

    def speed(self, t):
        return self.velocity(self.grid, t)[0, 0]

    def tendency(self, t, u, latent):
        T, v = u["temperature"], [1e-6 * self.speed(t)]
        rate = ipd.advection_diffusion(T, v, self.diffusivity(), self.grid, scheme="central", t=t)
        return {"temperature": DAY * rate}


class Problem(Constant):
    """Heat that water carries into a streambed, faster on some days than on others."""

    settings = OfConstant.with_defaults(
        offsets=True,
        observations={"standard_deviation": 0.024},  # K, the step in which they read
        stepper={"dt": 1 / 96},
        training={"optimizer": "empirical_bayes", "steps": 20},
    )
    infers = "how fast water seeps, day by day, from thermometers at four depths"

    def model(self, settings, key):
        constant = super().model(settings, key)
        assert isinstance(constant, Streambed)
        return Flow(constant.grid, constant.diffusivity, unknown_velocity(), constant.offset)

    def prior(self, settings):
        return MaternPrior(lambda model: model.velocity, unknown_velocity())

    def findings(self, settings, data, fitted, loss):
        if fitted.regularised is None:  # trained by another optimiser
            return Findings()
        posterior = laplace(fitted.model, fitted.regularised, errors="given")
        times = np.linspace(0.5, thermometers()[0][-1], 100)

        def speeds(model):
            return jax.vmap(model.speed)(jnp.asarray(times))

        v, deviation = map(np.asarray, (speeds(fitted.model), posterior.standard_deviation(speeds)))
        line = Series("velocity", times, v, predicted_deviation=deviation)
        mean = f"velocity: {v.mean():.2f} on average, {v.min():.2f} to {v.max():.2f}, in 1e-6 m/s"
        series = {"velocity, downward (1e-6 m/s)": [line]}
        return Findings(lines=[mean], series=series, time_label="time (d)")
