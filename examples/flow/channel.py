"""Flow in a channel, by velocity and pressure: the viscosity from 12 readings of the pressure.

    dv/dt = -div(v v) + div(nu grad v) - grad p,    0 = div v

on a staggered grid: velocities on faces, pressure in cells. Fluid enters on the left at speed 1,
and leaves on the right, where the pressure is 0. impindiff run channel.py
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd

STILL, OUT = ipd.Dirichlet(0.0), ipd.Neumann()
SIDES = (((ipd.Dirichlet(1.0), OUT), STILL), ((STILL, OUT), STILL))  # of each component


class Channel(ipd.HybridModel):
    grid: ipd.Grid
    viscosity: ipd.Parameter

    def mass(self):
        return ipd.incompressible.mass(self.grid, SIDES)

    def tendency(self, t, u, latent):
        return ipd.incompressible.tendency(u, self.viscosity(), self.grid, boundary=SIDES)


class Problem(ipd.Problem):
    """Viscosity of the fluid in a channel."""

    settings = ipd.ProblemSettings.with_defaults(
        stepper={"name": "steady"},
        training={"optimizer": "levenberg_marquardt", "steps": 10},
        observations={"standard_deviation": 0.01},
        truth={"viscosity": 0.05},
    )

    def model(self, settings, key, viscosity=0.2, cells=20):
        sides = ((STILL, OUT), STILL)
        grid = ipd.Grid((0.0, 0.0), (4.0, 1.0), (4 * cells, cells), boundary=sides)
        return Channel(grid, ipd.Parameter(viscosity, lower=0.0))

    def initial_state(self, settings, model, data):
        zero = jnp.zeros(model.grid.cells)  # a guess
        return {"velocity": (zero, zero), "pressure": zero}

    def stepper(self, settings):
        inverse = ipd.incompressible.PressureCorrection(SIDES)
        steady, at = super().stepper(settings), lambda s: s.solver.preconditioner
        return eqx.tree_at(at, steady, inverse, is_leaf=lambda x: x is None)

    def quantities(self, u):
        return {"p": u["pressure"]}

    def reference(self, settings, until=None):
        """Readings of a finer model along the axis, with an error of 0.01."""
        finer = self.model(settings, None, settings.truth["viscosity"], 40)
        solver = self.stepper(settings).solver
        flow = ipd.steady(finer, self.initial_state(settings, finer, None), solver=solver).u
        x, i = finer.grid.axis_centers(0)[8::13], np.arange(8, 160, 13)
        value = np.asarray(flow["pressure"])[i, 20] + 0.01 * np.random.default_rng(0).normal(
            size=12
        )
        y = np.full(12, finer.grid.axis_centers(1)[20])
        columns = {"time": 0 * x, "x": x, "y": y, "quantity": np.full(12, "p"), "value": value}
        return xr.Dataset({name: ("observation", column) for name, column in columns.items()})
