"""A plate with a hole, from its outline and thermocouples: how it conducts and loses heat.

dT/dt = div(kappa grad T) - loss (T - 20) + heater; no flux through its edges; kappa, loss unknown

    python make_data.py
    impindiff run plate.py
"""

from pathlib import Path

import jax.numpy as jnp

import impindiff as ipd

HERE = Path(__file__).parent
AIR = 20.0  # degC


class Plate(ipd.HybridModel):
    grid: ipd.Grid
    conduction: ipd.Parameter  # kappa, in mm^2/s
    loss: ipd.Parameter  # in 1/s

    def tendency(self, t, u, latent):
        T, (x, y) = u["temperature"], self.grid.centers
        heater = jnp.exp(-((x - 25) ** 2 + (y - 35) ** 2) / 100)  # K/s
        spread = ipd.diffusion(T, self.conduction(), self.grid)
        return {"temperature": spread - self.loss() * (T - AIR) + heater}


class Settings(ipd.ProblemSettings):
    outline: Path = HERE / "outline.png"


class Problem(ipd.Problem):
    """Conduction and loss of heat of a plate with a hole."""

    settings = Settings.with_defaults(
        data={"path": str(HERE / "thermocouples.csv")},
        stepper={"name": "sdirk2", "dt": 5.0},
        solver={"preconditioner": "multigrid"},
        training={"optimizer": "levenberg_marquardt", "steps": 15},
    )

    def model(self, settings, key):
        edges = (ipd.Neumann(), ipd.Neumann())
        grid = ipd.Grid((0.0, 0.0), (120.0, 80.0), (60, 40), edges, domain=settings.outline)
        return Plate(grid, ipd.Parameter(50.0, lower=0.0), ipd.Parameter(0.01, lower=0.0))

    def initial_state(self, settings, model, data):
        return {"temperature": jnp.full(model.grid.cells, AIR)}
