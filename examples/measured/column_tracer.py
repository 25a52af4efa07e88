"""Column tracer: how fast salt moves and spreads in sand, from its breakthrough at three depths.

dc/dt = D d2c/dx2 - v dc/dx with v c - D dc/dx = v c0 at the inlet, x = 0; v and D down to each
depth are unknown

    impindiff run column_tracer.py
    impindiff run column_tracer.py --set sand=unsaturated --set stepper.dt=0.4
"""

from itertools import takewhile
from typing import Literal

import jax.numpy as jnp
import numpy as np

import impindiff as ipd

DEPTHS = (11, 17, 23)  # cm
# file; c0, and c before; initial guesses of v and D
SANDS = {"saturated": ("3A", 1.0, 0.0, 3.0, 1.0), "unsaturated": ("3B", 0.0, 1.0, 0.3, 0.3)}


class Column(ipd.HybridModel):
    grid: ipd.Grid
    velocity: dict[str, ipd.Parameter]  # v, in cm/h, down to each depth
    dispersion: dict[str, ipd.Parameter]  # D, in cm^2/h
    inflow: float  # c0

    def latent(self, t):
        unknown = (self.velocity, self.dispersion)
        return ipd.PerSample([jnp.stack([p() for p in of.values()]) for of in unknown])

    def tendency(self, t, u, latent):
        v, D = latent
        walls = ((ipd.Robin(v, D, v * self.inflow), ipd.Neumann()),)
        c, grid = u["c"], self.grid
        return {"c": ipd.advection_diffusion(c, [v], D, grid, scheme="central", boundary=walls)}


class Settings(ipd.ProblemSettings):
    sand: Literal["saturated", "unsaturated"] = "saturated"


class Problem(ipd.Problem):
    """Salt that water carries through sand."""

    settings = Settings.with_defaults(
        stepper={"dt": 0.04},
        solver={"preconditioner": "multigrid"},
        training={"optimizer": "levenberg_marquardt", "steps": 40},
    )
    infers = "how fast salt moves and spreads, from its concentration at three depths"

    def data(self, settings):
        rows = []
        file = ipd.data.fetch("column_tracer") / f"FIG7-{SANDS[settings.sand][0]}.IN"
        for sample, block in enumerate(file.read_text().split("BLOCK G")[1:]):
            lines = [line.split() for line in block.splitlines()]
            for t, c in takewhile(lambda line: float(line[0]) > 0, lines[5:]):
                rows.append((sample, float(lines[3][0]), float(t), float(c)))
        columns = dict(zip(("sample", "x", "time", "c"), np.transpose(rows), strict=True))
        return ipd.data.points(columns, {"time": "h", "x": "cm"})

    def model(self, settings, key):
        _, inflow, _, v, D = SANDS[settings.sand]
        grid = ipd.Grid((0.0,), (30.0,), (300,), boundary=(ipd.Neumann(),))
        velocity = {f"{depth} cm": ipd.Parameter(v, lower=0.0) for depth in DEPTHS}
        dispersion = {f"{depth} cm": ipd.Parameter(D, lower=0.0) for depth in DEPTHS}
        return Column(grid, velocity, dispersion, inflow)

    def initial_state(self, settings, model, data):
        return {"c": jnp.full(model.grid.cells, SANDS[settings.sand][2])}
