"""Taylor-Green vortices carried by a wind: the viscosity from 30 readings of the velocity.

Vorticity omega and stream function psi on a periodic square, carried by a wind (1, 1/2):

    d omega/dt = -div(velocity omega) + nu div(grad omega),    0 = div(grad psi) + omega - mean(psi)

The second equation has no time derivative: psi has mass 0. It is determined up to a constant, which
its mean fixes. Exact is omega = 2 sin(x - t) sin(y - t/2) exp(-2 nu t).

impindiff run taylor_green.py
"""

import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd

WIND = (1.0, 0.5)


class Vortices(ipd.HybridModel):
    grid: ipd.Grid
    viscosity: ipd.Parameter

    def mass(self):
        return {"omega": 1.0, "psi": 0.0}

    def tendency(self, t, u, latent):
        omega, psi = u["omega"], u["psi"]
        across, along = ipd.gradient(psi, self.grid)
        velocity = (WIND[0] + along, WIND[1] - across)
        moved = ipd.advection(omega, velocity, self.grid, "central")
        spread = ipd.diffusion(omega, self.viscosity(), self.grid)
        level = ipd.diffusion(psi, 1.0, self.grid) + omega - jnp.mean(psi)
        return {"omega": moved + spread, "psi": level}


def exact(x, y, t, viscosity):
    """Vorticity and velocity of the exact solution."""
    x, y, size = x - WIND[0] * t, y - WIND[1] * t, jnp.exp(-2 * viscosity * t)
    u, v = size * jnp.sin(x) * jnp.cos(y), -size * jnp.cos(x) * jnp.sin(y)
    return 2 * size * jnp.sin(x) * jnp.sin(y), WIND[0] + u, WIND[1] + v


class Problem(ipd.Problem):
    """Viscosity of the fluid in Taylor-Green vortices."""

    settings = ipd.ProblemSettings.with_defaults(
        stepper={"name": "sdirk2", "dt": 0.1},
        solver={"preconditioner": "fast_diagonalization"},
        training={"optimizer": "levenberg_marquardt", "steps": 10},
        truth={"viscosity": 0.05},
    )

    def model(self, settings, key, viscosity=0.2, cells=32):
        grid = ipd.Grid((0.0, 0.0), (2 * np.pi,) * 2, (cells, cells))
        return Vortices(grid, ipd.Parameter(viscosity, lower=0.0))

    def initial_state(self, settings, model, data):
        x, y = model.grid.centers
        omega = exact(x, y, 0.0, 0.0)[0]
        return {"omega": omega, "psi": omega / 2}

    def quantities(self, u):
        n = u["psi"].shape[-1]
        across, along = ipd.gradient(u["psi"], ipd.Grid((0.0,) * 2, (2 * np.pi,) * 2, (n, n)))
        return {"u": WIND[0] + along, "v": WIND[1] - across}

    def reference(self, settings, until=None):
        """The exact solution, read 15 times at random places, with an error of 0.01."""
        rng = np.random.default_rng(0)
        t, (x, y) = rng.uniform(0.5, until or 2.0, 15), rng.uniform(0, 2 * np.pi, (2, 15))
        _, u, v = exact(x, y, t, settings.truth["viscosity"])
        columns = {name: np.tile(column, 2) for name, column in (("time", t), ("x", x), ("y", y))}
        columns |= {"quantity": np.repeat(["u", "v"], 15)}
        columns |= {"value": np.append(u, v) + 0.01 * rng.standard_normal(30)}
        columns["standard_deviation"] = np.full(30, 0.01)
        return xr.Dataset({name: ("observation", column) for name, column in columns.items()})
