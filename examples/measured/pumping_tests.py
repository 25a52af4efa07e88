"""Pumping tests: how well aquifers conduct and store water, from the drawdown around a well.

S ds/dt = T (1/r) d/dr (r ds/dr), with 2 pi r T ds/dr = -Q at the well and s = 0 far away;
transmissivity T and storage S of a confined aquifer are unknown (Theis 1935)

    impindiff run pumping_tests.py
    impindiff run pumping_tests.py --set site=sioux
"""

from typing import Literal

import numpy as np

import impindiff as ipd

MINUTE = 1 / 1440  # d
SITES = {  # unit of time in d, thickness in m, pumped volume in m^3/d, file of each distance in m
    "korendijk": (MINUTE, 7.0, 788.0, {30.0: "piezometer_h30", 90.0: "piezometer_h90"}),
    "sioux": (1.0, 15.24, 6605.754, {30.48: "sioux100", 60.96: "sioux200", 121.92: "sioux400"}),
}


class Aquifer(ipd.HybridModel):
    grid: ipd.Grid
    transmissivity: ipd.Parameter  # T, in m^2/d
    storage: ipd.Parameter  # S
    pumped: float  # Q, in m^3/d

    def tendency(self, t, u, latent):
        T, radius = self.transmissivity(), self.grid.lower[0]
        well = ipd.Neumann(self.pumped / (2 * np.pi * radius * T))
        walls = ((well, ipd.Dirichlet(0.0)),)
        flow = ipd.diffusion(u["drawdown"], T, self.grid, boundary=walls)
        return {"drawdown": flow / self.storage()}


class Settings(ipd.ProblemSettings):
    site: Literal["korendijk", "sioux"] = "korendijk"


class Problem(ipd.Problem):
    """Drawdown around a pumped well."""

    settings = Settings.with_defaults(
        stepper={"name": "kencarp4", "adaptive": {"rtol": 1e-3, "atol": 1e-4, "max_steps": 400}},
        solver={"preconditioner": "multigrid"},
        training={"optimizer": "levenberg_marquardt", "steps": 40},
    )
    infers = "how well an aquifer conducts and stores water, from the drawdown around a well"

    def data(self, settings):
        unit, _, _, files = SITES[settings.site]
        folder = ipd.data.fetch("pumping_tests")
        tables = {r: np.loadtxt(folder / f"{name}.txt") for r, name in files.items()}
        columns = {
            "time": np.concatenate([unit * table[:, 0] for table in tables.values()]),
            "x": np.concatenate([np.full(len(table), r) for r, table in tables.items()]),
            "drawdown": np.concatenate([-table[:, 1] for table in tables.values()]),
        }
        return ipd.data.points(columns, {"time": "d", "x": "m", "drawdown": "m"})

    def model(self, settings, key):
        radii = ipd.grid.geometric(0.1, 30_000.0, 160)
        sides = ((ipd.Neumann(), ipd.Dirichlet(0.0)),)
        grid = ipd.Grid.from_edges((radii,), sides, coordinates="cylindrical")
        unknown = ipd.Parameter(1000.0, lower=0.0), ipd.Parameter(1e-3, lower=0.0)
        return Aquifer(grid, *unknown, SITES[settings.site][2])

    def initial_state(self, settings, model, data):
        return {"drawdown": np.zeros(model.grid.cells)}
