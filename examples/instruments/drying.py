"""Drying of plates: how fast moisture moves, from a balance and two probes in each plate.

du/dt = D / L^2 d2u/dx2 in plates of thickness L, sealed at x = 0 and dry at x = 1, with D unknown

    impindiff run drying.py
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd
from impindiff.observations import Measurement, Measurements, PartAverage, Probes
from impindiff.training import GaussianPrior


class Plate(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: ipd.Parameter  # D, in cm^2/h
    thickness: Any = 1.0  # L, in cm: a number, or one for each plate

    def latent(self, t):
        return self.thickness

    def tendency(self, t, u, latent):
        spread = self.diffusivity() / latent**2
        return {"moisture": ipd.diffusion(u["moisture"], spread, self.grid)}


class Settings(ipd.ProblemSettings):
    thickness: tuple[float, ...] = (0.5, 1.0, 1.5)
    test_thickness: tuple[float, ...] = (0.8,)
    noise: float = 0.01  # of both instruments


class Problem(ipd.Problem):
    """Drying of plates of several thicknesses."""

    # one unknown number: six of these steps, where Adam needs thousands
    settings = Settings.with_defaults(training={"optimizer": "levenberg_marquardt", "steps": 20})
    infers = "how fast moisture moves, from a balance and two probes in each plate"

    def model(self, settings, key):
        walls = (ipd.Neumann(), ipd.Dirichlet(0.0))
        grid = ipd.Grid((0.0,), (1.0,), (24,), boundary=(walls,))
        return Plate(grid, ipd.Parameter(0.5, lower=0.0))

    def true_model(self, settings):
        return dataclasses.replace(self.model(settings, None), diffusivity=ipd.Parameter(0.3))

    def reference(self, settings, until=None):
        """Moisture of all plates, twenty times until all but the thickest are nearly dry."""
        times = np.linspace(0.0, 1.0, 21)
        if until is not None:
            times = np.linspace(0.0, until, max(2, round(20 * until) + 1))
        plates = [*settings.thickness, *settings.test_thickness]
        known = xr.Dataset({"thickness": ("sample", plates)})
        model = self.for_samples(settings, self.true_model(settings), known)
        start = self.initial_state(settings, model, known)
        u0 = {name: jnp.broadcast_to(u, (len(plates), *u.shape)) for name, u in start.items()}
        u = np.asarray(ipd.rollout(model, u0, times, dt=0.005).u["moisture"])
        known["moisture"] = (("sample", "time", "x"), np.moveaxis(u, 0, 1))
        known["test"] = ("sample", [0] * len(settings.thickness) + [1])
        return known.assign_coords(time=times, x=model.grid.axis_centers(0))

    def initial_state(self, settings, model, data):
        return {"moisture": jnp.ones(model.grid.cells)}

    def for_samples(self, settings, model, data):
        own = ipd.PerSample(ipd.conditions_of(data)["thickness"])
        return dataclasses.replace(model, thickness=own)

    def observations(self, settings, model, data):
        times, cells = data["time"].to_numpy(), model.grid.cells
        every, some = range(1, len(times)), range(5, len(times), 5)
        probes = Probes((0.0,), (1.0,), cells, np.array([[0.2], [0.7]]))
        plant = Measurements(
            [
                Measurement("mass", self.moisture, PartAverage(cells), every, settings.noise),
                Measurement("probes", self.moisture, probes, some, settings.noise),
            ]
        )
        exact = plant({"moisture": np.moveaxis(data["moisture"].to_numpy(), 1, 0)})
        return ipd.Observations(tuple(times.tolist()), plant, plant.noisy(exact, settings.seed))

    def prior(self, settings):
        # a factor of e around the start, from tables of similar material
        return GaussianPrior(lambda model: model.diffusivity.raw, 1.0)

    @staticmethod
    def moisture(u):
        return u["moisture"]
