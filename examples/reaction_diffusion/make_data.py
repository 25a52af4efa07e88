"""Writes measurements.csv: 500 values at random times and places, with an error of 0.01.

The truth is solved on a finer grid with a smaller step of another method than the model's.

python make_data.py
"""

from pathlib import Path

import jax
import numpy as np
import xarray as xr
from gray_scott import GrayScott, Problem
from scipy.interpolate import RegularGridInterpolator

import impindiff as ipd

FEED, KILL = 0.035, 0.06
ERROR, COUNT, END = 0.01, 500, 200.0

jax.config.update("jax_enable_x64", True)
grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (96, 96))
model = GrayScott(grid, ipd.Parameter(FEED), ipd.Parameter(KILL))
times = np.linspace(0.0, END, 41)
u0 = Problem().initial_state(None, model, None)
states = ipd.rollout(model, u0, times, stepper=ipd.RK4(), dt=1.0).u
rng = np.random.default_rng(0)
inner = 0.5 / grid.cells[0]
when = rng.uniform(0.0, END, COUNT)
where = rng.uniform(inner, 1 - inner, (COUNT, 2))
quantity = rng.choice(["a", "b"], COUNT)
axes = (times, grid.axis_centers(0), grid.axis_centers(1))
read = {
    name: RegularGridInterpolator(axes, np.asarray(field), "cubic")
    for name, field in states.items()
}
exact = [read[name]([t, *x])[0] for name, t, x in zip(quantity, when, where, strict=True)]
points = {
    "time": when,
    "x": where[:, 0],
    "y": where[:, 1],
    "quantity": quantity,
    "value": np.asarray(exact) + ERROR * rng.standard_normal(COUNT),
    "standard_deviation": np.full(COUNT, ERROR),
}
columns = {name: ("observation", values) for name, values in points.items()}
ipd.data.write(xr.Dataset(columns), Path(__file__).with_name("measurements.csv"))
