"""4D-Var: an initial state and a parameter together, from sensors over a window of time.

du/dt = -div(s v u) + D laplace u, with v(x, y, t) and D known; s and u at t = 0 are unknown

    impindiff run four_d_var.py
"""

import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd
from impindiff.training import MaternPrior

X, Y = np.meshgrid(*[(np.arange(32) + 0.5) / 32] * 2, indexing="ij")
BACKGROUND, TRUTH = (np.exp(-40 * np.hypot(X - x, Y - x - 0.1) ** 2) for x in (0.35, 0.5))


class Tracer(ipd.HybridModel):
    grid: ipd.Grid
    factor: ipd.Parameter  # s
    departure: ipd.ModalField  # of u at t = 0 from the background

    def latent(self, t):
        v = jnp.sin(2 * np.pi * Y + t), jnp.sin(2 * np.pi * X) * jnp.cos(2 * t)
        return self.factor() * jnp.stack(v) / 2

    def tendency(self, t, u, latent):
        return ipd.advection_diffusion(u, latent, 1e-3, self.grid, scheme="central")


class Problem(ipd.Problem):
    """State and parameter in a flow that changes in time."""

    settings = ipd.ProblemSettings.with_defaults(
        observations={"until": 1.0, "sensors": 100, "noise": 0.05, "standard_deviation": 0.01},
        stepper={"dt": 0.025},
        training={"optimizer": "levenberg_marquardt", "steps": 20, "loss_tolerance": 1e-4},
        truth={"factor": 1.0},
    )

    def model(self, settings, key, factor=0.7):
        grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), X.shape)
        departure = ipd.ModalField(1, grid.lower, grid.upper, periodic=(True, True), modes=60)
        return Tracer(grid, ipd.Parameter(factor), departure)

    def prior(self, settings):
        return MaternPrior(lambda m: m.departure, self.model(None, None).departure, deviation=0.3)

    def initial_state(self, settings, model, data):
        return BACKGROUND + model.departure(model.grid)[0]

    def latent_fields(self, model, t):
        return {"start": self.initial_state(None, model, None)}

    def reference(self, settings, until=None):
        times, start = np.linspace(0.0, until or 2.0, 9), jnp.asarray(TRUTH)
        u = ipd.rollout(self.model(None, None, 1.0), start, times, dt=0.01).u
        fields = {"u": (("time", "x", "y"), u), "start": (("x", "y"), start)}
        return xr.Dataset(fields, {"time": times, "x": X[:, 0], "y": Y[0]})
