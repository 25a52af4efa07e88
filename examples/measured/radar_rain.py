"""Rain radar: the wind that carries rain, from three images, and the rain half an hour later.

dZ/dt = -v . grad Z + D laplace Z for the echo Z; the wind v(x, y) and the diffusivity D are unknown

    impindiff run radar_rain.py
    impindiff run radar_rain.py --set start=60
"""

import gzip
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import Field

import impindiff as ipd

SIZE = (640, 768)  # km, to the east and to the north
MINUTES = np.arange(0, 31, 5)


def images(minutes):
    """Echoes in dBZ (time, x, y) by pixels of 1 km, at minutes after 14:45 UTC; NaN: no radar."""
    folder, found = ipd.data.fetch("radar_rain"), []
    for hour, minute in (divmod(14 * 60 + 45 + m, 60) for m in minutes):
        name = f"20160928{hour:02d}{minute:02d}_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"
        pixels = np.frombuffer(gzip.decompress((folder / name).read_bytes())[-1226 * 760 :], "u1")
        found.append(pixels.reshape(1226, 760)[1067:299:-1, 60:700].T.astype(float))
    level = np.stack(found)
    return np.where(level == 255, np.nan, np.maximum(level - 64, 0) / 2)


class Rain(ipd.HybridModel):
    grid: ipd.Grid
    wind: ipd.ConditionalField  # v, in 40 km/h
    diffusivity: ipd.Parameter  # D, in km^2/h

    def latent(self, t):
        return {"wind": 40 * self.wind(self.grid)}

    def tendency(self, t, u, latent):
        Z, v, D, grid = u["echo"], latent["wind"], self.diffusivity(), self.grid
        carried = ipd.advection_diffusion(Z, v, D, grid, scheme="van_leer")
        return {"echo": carried + Z * ipd.divergence(v, grid)}  # not compressed where winds meet


class Settings(ipd.ProblemSettings):
    start: Annotated[int, Field(ge=30, le=90, multiple_of=5)] = 30  # of the forecast; min
    cell: Literal[2, 4, 8, 16] = 4  # km


class Problem(ipd.Problem):
    """Rain that the wind carries over Finland."""

    settings = Settings.with_defaults(
        observations={"times": (5 / 60, 10 / 60)},  # h after the first of the training images
        stepper={"dt": 1 / 24},
        training={"optimizer": "adam", "steps": 60, "learning_rate": 0.01},
    )
    infers = "the wind that carries rain, from radar images"

    def data(self, settings):
        # the last image for training is that of the start, with which the test begins
        trained_for = round(60 * max(settings.observations.times or [0.5]))
        echo = np.stack([images(settings.start - m + MINUTES) for m in (trained_for, 0)])
        x, y = (np.arange(settings.cell / 2, n, settings.cell) for n in SIZE)
        blocks = len(x), settings.cell, len(y), settings.cell
        echo = np.nan_to_num(echo).reshape(2, len(MINUTES), *blocks).mean((3, 5))
        fields = {"echo": (("sample", "time", "x", "y"), echo, {"units": "dBZ"})}
        hours = ("time", MINUTES / 60, {"units": "h"})
        places = {a: (a, at, {"units": "km"}) for a, at in (("x", x), ("y", y))}
        return xr.Dataset(fields | {"test": ("sample", [0, 1])}, {"time": hours, **places})

    def model(self, settings, key):
        cells = tuple(n // settings.cell for n in SIZE)
        grid = ipd.Grid((0.0, 0.0), SIZE, cells, boundary=(ipd.Neumann(), ipd.Neumann()))
        scales = {"width": 32, "depth": 2, "omega_first": 10.0, "omega": 10.0}
        wind = ipd.ConditionalField(2, grid.lower, grid.upper, **scales, key=key)
        return Rain(grid, wind, ipd.Parameter(10.0, lower=0.0))
