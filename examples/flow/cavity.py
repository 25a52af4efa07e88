"""Lid-driven cavity: the viscosity of a steady flow, from 30 readings of its velocity.

Vorticity omega and stream function psi, velocity (d psi/dy, -d psi/dx), on the unit square:

    d omega/dt = -div(velocity omega) + nu div(grad omega),    0 = div(grad psi) + omega

psi has mass 0. The vorticity on a wall follows from psi in the next cells, such that the fluid
sticks to it (Jensen's formula). impindiff run cavity.py
"""

import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd


class Cavity(ipd.HybridModel):
    grid: ipd.Grid
    viscosity: ipd.Parameter

    def mass(self):
        return {"omega": 1.0, "psi": 0.0}

    def tendency(self, t, u, latent):
        omega, psi, h = u["omega"], u["psi"], self.grid.spacing[0]
        rows = jnp.pad(psi, 1)
        rows = (rows[1:] + rows[:-1]) / 2
        corners = (rows[:, 1:] + rows[:, :-1]) / 2
        velocity = (jnp.diff(corners, axis=1) / h, -jnp.diff(corners, axis=0) / h)  # on faces

        def wall(near, far, speed=0.0):
            return ipd.Robin(1.0, h / 2, (far - 8 * near) / (2 * h**2) - 3 * speed / h)

        sides = (wall(psi[0], psi[1]), wall(psi[-1], psi[-2]))
        walls = (sides, (wall(psi[:, 0], psi[:, 1]), wall(psi[:, -1], psi[:, -2], 1.0)))
        moved = ipd.advection(omega, velocity, self.grid, "central", boundary=walls)
        spread = ipd.diffusion(omega, self.viscosity(), self.grid, boundary=walls)
        return {"omega": moved + spread, "psi": ipd.diffusion(psi, 1.0, self.grid) + omega}


def grid_of(n):
    """Cells around the inner nodes of n x n intervals; Robin's conditions hold on the walls."""
    walls = ((ipd.Robin(1.0, 0.5 / n, 0.0),) * 2,) * 2
    return ipd.Grid((0.5 / n,) * 2, (1 - 0.5 / n,) * 2, (n - 1,) * 2, boundary=walls)


class Problem(ipd.Problem):
    """Viscosity of the fluid in a lid-driven cavity."""

    settings = ipd.ProblemSettings.with_defaults(
        stepper={"name": "steady"},
        solver={"preconditioner": "fast_diagonalization"},
        training={"optimizer": "levenberg_marquardt", "steps": 10},
        observations={"standard_deviation": 0.001},
        truth={"viscosity": 0.01},
    )

    def model(self, settings, key, viscosity=0.03, intervals=64):
        return Cavity(grid_of(intervals), ipd.Parameter(viscosity, lower=0.0))

    def initial_state(self, settings, model, data):
        return {name: jnp.zeros(model.grid.cells) for name in ("omega", "psi")}  # a guess

    def quantities(self, u):
        across, along = ipd.gradient(u["psi"], grid_of(u["psi"].shape[-1] + 1))
        return {"u": along, "v": -across}

    def reference(self, settings, until=None):
        """Readings of a finer model at 15 of its nodes, with an error of 0.001."""
        finer = self.model(settings, None, settings.truth["viscosity"], 96)
        guess, solver = self.initial_state(settings, finer, None), settings.solver.build()
        flow = self.quantities(ipd.steady(finer, guess, solver=solver).u)
        rng = np.random.default_rng(0)
        i, j = rng.integers(6, 88, (2, 15))
        value = np.concatenate([np.asarray(flow[name])[i, j] for name in "uv"])
        x, y = (np.tile(finer.grid.axis_centers(0)[at], 2) for at in (i, j))
        columns = {"time": 0 * x, "x": x, "y": y, "quantity": np.repeat(["u", "v"], 15)}
        columns |= {"value": value + 0.001 * rng.standard_normal(30)}
        return xr.Dataset({name: ("observation", column) for name, column in columns.items()})
