"""Streambed: how fast water seeps down, from temperatures below a stream over two weeks.

dT/dt = kappa d2T/dx2 - v dT/dx between 10 and 40 cm, where T is measured; kappa, v unknown

    impindiff run streambed_heat.py
    impindiff run streambed_heat.py --set offsets=true
"""

import jax.numpy as jnp
import numpy as np

import impindiff as ipd

DEPTHS = (0.1, 0.2, 0.3, 0.4)  # m
DAY = 86400.0  # s
FORGOTTEN = 10 / 24  # d, after which the initial state, a guess, has no influence


def thermometers():
    """Times in days, and temperatures (time, depth), every 15 minutes until a gap."""
    file = ipd.data.fetch("streambed_heat") / "point34_temperature_cleaned.csv"
    T = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=(1, 2, 3, 4), max_rows=1268)
    return np.arange(len(T)) / 96, T


class Streambed(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: ipd.Parameter  # kappa, in m^2/s
    velocity: ipd.Parameter  # v, in m/s, downward
    offset: dict[str, ipd.Parameter]  # of a thermometer, in K

    def tendency(self, t, u, latent):
        T, v, kappa = u["temperature"], self.velocity(), self.diffusivity()
        rate = ipd.advection_diffusion(T, [v], kappa, self.grid, scheme="central", t=t)
        return {"temperature": DAY * rate}


class Settings(ipd.ProblemSettings):
    offsets: bool = False  # of the thermometers at 20 and 30 cm, against those at 10 and 40 cm


class Problem(ipd.Problem):
    """Heat that water carries into a streambed."""

    settings = Settings.with_defaults(
        observations={"standard_deviation": 0.024},  # K, the step in which they read
        stepper={"dt": 1 / 96},
        training={"optimizer": "levenberg_marquardt", "steps": 20},
    )
    infers = "how fast water seeps and heat spreads, from thermometers at four depths"

    def data(self, settings):
        times, T = thermometers()
        seen = times > FORGOTTEN
        columns = {
            "time": np.tile(times[seen], 2),
            "x": np.repeat(DEPTHS[1:3], seen.sum()),
            "quantity": np.repeat(["T20", "T30"], seen.sum()),
            "value": np.concatenate([T[seen, 1], T[seen, 2]]),
        }
        return ipd.data.points(columns, {"time": "d", "x": "m", "value": "degC"})

    def quantities(self, u):
        return {"T20": u["temperature"], "T30": u["temperature"]}

    def offsets(self, model):
        return {name: offset() for name, offset in model.offset.items()}

    def model(self, settings, key) -> ipd.HybridModel:
        times, T = thermometers()
        above = ipd.Dirichlet(lambda t: jnp.interp(t, times, T[:, 0]))
        below = ipd.Dirichlet(lambda t: jnp.interp(t, times, T[:, 3]))
        grid = ipd.Grid((0.1,), (0.4,), (30,), boundary=((above, below),))
        kappa, v = ipd.Parameter(1e-6, lower=0.0), ipd.Parameter(0.0, scale=1e-6)
        names = ("T20", "T30") if settings.offsets else ()
        return Streambed(grid, kappa, v, {n: ipd.Parameter(0.0, scale=0.1) for n in names})

    def initial_state(self, settings, model, data):
        first = thermometers()[1][0]
        return {"temperature": jnp.interp(model.grid.centers[0], jnp.array(DEPTHS), first)}
