"""Trains on eight devices, on one, and on one number after the other; writes the losses."""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import jax.numpy as jnp
import numpy as np
import optax

import impindiff as ipd
from impindiff.training import TrajectoryLoss, fit

jax.config.update("jax_enable_x64", True)


class Spreading(ipd.HybridModel):
    grid: ipd.Grid
    D: ipd.Parameter

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.D(), self.grid)


grid = ipd.Grid((0, 0), (1, 1), (16, 8))
x = np.asarray(grid.centers)
u0 = jnp.asarray(np.stack([np.sin(2 * np.pi * x[0]), np.cos(2 * np.pi * x[1])]))
stepper = ipd.BackwardEuler(
    solver=ipd.NewtonKrylov(rtol=1e-13, atol=1e-15), gradient=ipd.ImplicitAdjoint(rtol=1e-12)
)
loss = TrajectoryLoss(u0, (0.0, 0.1), 0.1 * u0[None], lambda u: u, stepper, 0.05)


def losses(folder, first, second=None):
    """Of four steps; with a second mesh, the last two on it, resumed from what was saved."""
    meshes = [(first, 4, False)] if second is None else [(first, 2, False), (second, 4, True)]
    for mesh, steps, resume in meshes:
        with ipd.Mesh(**mesh):
            fit(
                Spreading(grid, ipd.Parameter(0.05)),
                loss,
                optax.adam(0.1),
                folder,
                steps=steps,
                log_every=1,
                save_every=1,
                resume=resume,
            )
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


folder = Path(sys.argv[1])
one, eight = {}, {"batch": 2, "x": 4}
runs = [(one,), (eight,), (one, eight), (eight, one)]
for i, _ in enumerate(runs):
    (folder / str(i)).mkdir()
found = [losses(folder / str(i), *run) for i, run in enumerate(runs)]
sys.stdout.write(json.dumps(found) + "\n")
