"""Make the plate's outline and its thermocouples' readings: kappa = 90 mm^2/s, loss 0.004 1/s."""

import dataclasses

import jax
import matplotlib.image
import numpy as np
from plate import HERE, Plate, Problem

import impindiff as ipd
from impindiff.observations import Probes

x, y = np.meshgrid(np.arange(0.5, 120), np.arange(79.5, 0, -1))
inside = (np.abs(x - 60) < 55) & (np.abs(y - 40) < 35) & (np.hypot(x - 75, y - 40) > 18)
matplotlib.image.imsave(HERE / "outline.png", np.where(inside, 1.0, 0.0), cmap="gray")

jax.config.update("jax_enable_x64", True)
settings = Problem.settings()
coarse = Problem().model(settings, None)
grid = ipd.Grid((0, 0), (120, 80), (120, 80), coarse.grid.boundary, domain=settings.outline)
model = Plate(grid, ipd.Parameter(90.0), ipd.Parameter(0.004))
places = np.array(
    [[15, 15], [15, 65], [40, 40], [48, 12], [75, 12], [75, 68], [100, 40], [110, 65]]
)
times = np.arange(0.0, 301.0, 30.0)
stepper = dataclasses.replace(ipd.SDIRK2(), solver=settings.solver.build())
u0 = Problem().initial_state(settings, model, None)
found = ipd.rollout(model, u0, times, stepper=stepper, dt=2.0).u["temperature"]
readings = np.asarray(Probes.on(grid, places.astype(float))(found))
noisy = readings + 0.1 * np.random.default_rng(0).standard_normal(readings.shape)
t, k = np.meshgrid(times[1:], np.arange(len(places)), indexing="ij")
columns = {"time": t.ravel(), "x": places[k.ravel(), 0], "y": places[k.ravel(), 1]}
columns |= {"temperature": noisy[1:].ravel()}
columns |= {"standard_deviation": np.full(t.size, 0.1)}
units = {"time": "s", "x": "mm", "y": "mm", "temperature": "degC"}
ipd.data.write(ipd.data.points(columns, units), HERE / "thermocouples.csv")
