"""Pumping tests: how well aquifers conduct and store water, from the drawdown around a well.

S ds/dt = T (1/r) d/dr (r ds/dr) - s / c, with 2 pi r T ds/dr = -Q at the well, s = 0 far away;
transmissivity T, storage S and the resistance c of a leaky layer above are unknown; a confined
aquifer has no such layer

    impindiff run pumping_tests.py
    impindiff run pumping_tests.py --set site=sioux
    impindiff run pumping_tests.py --set site=dalem
"""

from typing import Literal

import numpy as np

import impindiff as ipd

MINUTE = 1 / 1440  # d
SITES = {  # unit of time in d, pumped volume in m^3/d, file of each distance in m
    "korendijk": (MINUTE, 788.0, {30.0: "piezometer_h30", 90.0: "piezometer_h90"}),
    "sioux": (1.0, 6605.754, {30.48: "sioux100", 60.96: "sioux200", 121.92: "sioux400"}),
    "dalem": (1.0, 761.0, {float(r): f"dalem_p{r}" for r in (30, 60, 90, 120)}),
}


class Aquifer(ipd.HybridModel):
    grid: ipd.Grid
    transmissivity: ipd.Parameter  # T, in m^2/d
    storage: ipd.Parameter  # S
    resistance: ipd.Parameter | None  # c, in d; None: confined
    pumped: float  # Q, in m^3/d

    def tendency(self, t, u, latent):
        T, radius = self.transmissivity(), self.grid.lower[0]
        well = ipd.Neumann(self.pumped / (2 * np.pi * radius * T))
        walls = ((well, ipd.Dirichlet(0.0)),)
        flow = ipd.diffusion(u["drawdown"], T, self.grid, boundary=walls)
        leaks = 0.0 if self.resistance is None else u["drawdown"] / self.resistance()
        return {"drawdown": (flow - leaks) / self.storage()}


class Settings(ipd.ProblemSettings):
    site: Literal["korendijk", "sioux", "dalem"] = "korendijk"


class Problem(ipd.Problem):
    """Drawdown around a pumped well."""

    settings = Settings.with_defaults(
        stepper={"name": "kencarp4", "adaptive": {"rtol": 1e-3, "atol": 1e-4, "max_steps": 400}},
        solver={"preconditioner": "multigrid"},
        training={"optimizer": "levenberg_marquardt", "steps": 40},
    )
    infers = "how well an aquifer conducts and stores water, from the drawdown around a well"

    def data(self, settings):
        unit, _, files = SITES[settings.site]
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
        leaky = ipd.Parameter(100.0, lower=0.0) if settings.site == "dalem" else None
        return Aquifer(grid, *unknown, leaky, SITES[settings.site][1])

    def initial_state(self, settings, model, data):
        return {"drawdown": np.zeros(model.grid.cells)}
