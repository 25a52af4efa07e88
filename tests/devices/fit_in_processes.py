"""Trains on all devices of all processes; of several, one may be killed on the way.

    python fit_in_processes.py STEPS KILLED_AT FOLDER [FOLDER ...]

KILLED_AT is a training step of the second process, 0 for none. Folders with a state are resumed.
"""

import os
import signal
import sys
from pathlib import Path

devices = os.environ.get("DEVICES", "1")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

import impindiff as ipd  # noqa: E402
from impindiff.training import TrajectoryLoss, fit  # noqa: E402

jax.config.update("jax_enable_x64", True)
steps, killed_at = int(sys.argv[1]), int(sys.argv[2])
index, count = ipd.distributed()


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


def show(progress):
    if index == 1 and progress.step == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)


with ipd.Mesh(batch=count, x=len(jax.devices()) // count):
    for folder in sys.argv[3:]:
        fit(
            Spreading(grid, ipd.Parameter(0.05)),
            loss,
            optax.adam(0.1),
            Path(folder),
            steps=steps,
            log_every=1,
            save_every=1,
            resume=True,
            show=show,
        )
