"""Column tritium: water that moves through clay and water that does not, from the effluent.

beta dc/dt = D d2c/dx2 - v dc/dx - a (c - s),  (1 - beta) ds/dt = a (c - s)

with D, the mobile share beta and the exchange a unknown, or with one kind of water alone:
R dc/dt = D d2c/dx2 - v dc/dx with D and R unknown. c is the concentration in the flux, as of an
effluent, so c = c0 at the inlet, x = 0 (Parker and van Genuchten 1984).

    impindiff run column_tritium.py
    impindiff run column_tritium.py --set immobile=false
"""

from itertools import takewhile

import jax.numpy as jnp
import numpy as np

import impindiff as ipd

LENGTH, VELOCITY = 30.0, 37.5  # cm, cm/d
PORE_VOLUME = LENGTH / VELOCITY  # d
PULSE = 3.102 * PORE_VOLUME  # d, with c0 = 1 in the inflow


class Column(ipd.HybridModel):
    grid: ipd.Grid
    dispersion: ipd.Parameter  # D, in cm^2/d
    capacity: ipd.Parameter  # beta, or R where all water moves
    exchange: ipd.Parameter | None  # a, in 1/d; None: all water moves

    def jump_times(self):
        return (PULSE,)

    def tendency(self, t, u, latent):
        c, D, v = u["c"], self.dispersion(), [VELOCITY]
        walls = ((ipd.Dirichlet(jnp.where(t < PULSE, 1.0, 0.0)), ipd.Neumann()),)
        flow = ipd.advection_diffusion(c, v, D, self.grid, scheme="central", boundary=walls)
        if self.exchange is None:
            return {"c": flow / self.capacity()}
        into = self.exchange() * (c - u["immobile"])
        return {"c": (flow - into) / self.capacity(), "immobile": into / (1 - self.capacity())}


class Settings(ipd.ProblemSettings):
    immobile: bool = True  # a part of the water


class Problem(ipd.Problem):
    """Tritium that water carries through clay loam."""

    settings = Settings.with_defaults(
        stepper={"dt": 0.01},
        solver={"preconditioner": "multigrid"},
        training={"optimizer": "levenberg_marquardt", "steps": 40},
    )
    infers = "dispersion and the share of immobile water, from the tritium in the effluent"

    def data(self, settings):
        text = (ipd.data.fetch("column_tracer") / "FIG7-9A.IN").read_text()
        lines = [line.split() for line in text.split("BLOCK G")[1].splitlines()[5:]]
        t, c = np.array([*takewhile(lambda line: float(line[0]) > 0, lines)], float).T
        columns = {"time": t * PORE_VOLUME, "x": LENGTH, "c": c}
        return ipd.data.points(columns, {"time": "d", "x": "cm"})

    def model(self, settings, key):
        # longer than the column, so that its end is no boundary
        grid = ipd.Grid((0.0,), (1.5 * LENGTH,), (300,), boundary=(ipd.Neumann(),))
        dispersion = ipd.Parameter(50.0, lower=0.0)
        if not settings.immobile:
            return Column(grid, dispersion, ipd.Parameter(1.0, lower=0.0), None)
        share = ipd.Parameter(0.9, lower=0.0, upper=1.0)
        return Column(grid, dispersion, share, ipd.Parameter(1.0, lower=0.0))

    def initial_state(self, settings, model, data):
        zero = jnp.zeros(model.grid.cells)
        return {"c": zero} if model.exchange is None else {"c": zero, "immobile": zero}
