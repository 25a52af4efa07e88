"""Loss and gradient of a small problem on a mesh; run in processes of their own.

    python two_fields.py OUT batch=2,x=4 [multigrid] [tube | hole]

writes what the first process found, and the collectives of the program. As many host devices as the
environment says; several processes if Slurm or `mpirun` started it.
"""

import json
import os
import sys

out, axes, *options = sys.argv[1:]
shape: dict = {name: int(n) for name, n in (part.split("=") for part in axes.split(","))}
per_process = os.environ.get("DEVICES", "8")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={per_process}"
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import impindiff as ipd  # noqa: E402

jax.config.update("jax_enable_x64", True)
index, count = ipd.distributed()


class Transport(ipd.HybridModel):
    grid: ipd.Grid
    D: jax.Array

    def tendency(self, t, u, latent):
        carried = ipd.advection(u, [1.0, 0.3], self.grid)
        if self.grid.domain is not None:
            carried += ipd.convection(u, lambda u: 0.1 * u**2, self.grid)
        return ipd.diffusion(u, self.D, self.grid) + carried


class Recorder:
    """An array that tells what was read of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.read = values, values.shape, values.dtype, []

    def __getitem__(self, index):
        part = self.values[index]
        self.read.append(part.size)
        return part


grid = ipd.Grid((0, 0), (1, 1), (32, 16), (ipd.Periodic(), (ipd.Dirichlet(), ipd.Neumann())))
if "tube" in options:
    grid = ipd.Grid.from_edges(
        (ipd.grid.tanh(0.0, 1.0, 32, 1.0), ipd.grid.geometric(0.2, 1.0, 16)),
        (ipd.Robin(1.0, 0.5, 0.2), (ipd.Dirichlet(), ipd.Neumann())),
        "cylindrical",
    )
if "hole" in options:
    grid = ipd.Grid(
        (0, 0),
        (1, 1),
        (32, 16),
        (ipd.Periodic(), (ipd.Dirichlet(), ipd.Neumann())),
        domain=lambda x, y: 0.3 - np.hypot(x - 0.52, y - 0.47),
        embedded=ipd.Dirichlet(0.3),
    )
x = np.asarray(grid.centers)
starts = [np.exp(-((x[0] - 0.5) ** 2 + (x[1] - 0.5 - 0.05 * i) ** 2) / 0.02) for i in range(4)]
u0, D = Recorder(np.stack(starts)), 0.1 * (1 + 0.3 * np.sin(6 * x[0]))
stepper = ipd.BackwardEuler(
    solver=ipd.NewtonKrylov(
        rtol=1e-13, atol=1e-15, preconditioner=ipd.Multigrid() if "multigrid" in options else None
    ),
    adjoint=ipd.ImplicitAdjoint(rtol=1e-12),
)


def loss(D, u0):
    result = ipd.rollout(
        Transport(grid, D), u0, [0.0, 0.02, 0.04], stepper=stepper, throw=False, dt=0.01
    )
    return jnp.sum(result.u[-1] ** 2)


mesh = ipd.Mesh(**shape)
with mesh:
    arguments = mesh.place(D, grid), mesh.place(u0, grid)
    program = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    value, gradient = program(*arguments)
    gradient = mesh.replicate(gradient)
if index == 0:
    found = {
        "processes": count,
        "devices": len(jax.devices()),
        "loss": float(value.addressable_data(0)),
        "gradient": np.asarray(gradient.addressable_data(0)).tolist(),
        "collectives": [list(c) for c in ipd.collectives(program)],
        "read": sum(u0.read) / u0.values.size,
    }
    with open(out, "w") as file:
        json.dump(found, file)
