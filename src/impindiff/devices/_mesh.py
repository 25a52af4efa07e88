"""Placement of a batch, and of the cells of a grid, on devices by JAX's sharding."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.grid import Grid

_BATCH, _SPACE = "batch", ("x", "y", "z")
_ACTIVE: list["Mesh"] = []


def active_mesh() -> "Mesh | None":
    """The mesh of the innermost `with` block, or None."""
    return _ACTIVE[-1] if _ACTIVE else None


def on_one_device(tree: PyTree[Any]) -> PyTree[Any]:
    """Move replicated arrays to the first device alone."""
    first = jax.devices()[0]
    return jax.tree.map(lambda x: jax.device_put(x, first) if eqx.is_array(x) else x, tree)


class Mesh:
    """A grid of devices: some share a batch, some the cells along a spatial axis.

        mesh = ipd.Mesh(batch=2, x=4)  # eight devices
        with mesh:
            u0 = mesh.place(u0, grid)  # (samples, *cells)
            model = mesh.replicate(model)
            value, gradient = jax.jit(jax.value_and_grad(loss))(model, u0)

    Inside the block, `fit` places the model and the data by itself. The compiler partitions every
    program by the placement of its inputs. Samples do not communicate; along a spatial axis
    neighbouring devices exchange the layer of cells at their common face in each product with an
    operator or its transpose, and dot products and norms are summed over all. The `with` block is
    needed while programs are traced, so that operators communicate layers only. Loss and gradient
    equal those of one device to the tolerance of the solves, up to the order of summation.

    **Arguments:**

    - `batch`, `x`, `y`, `z`: numbers of devices; default 1 each.
    - `devices`: by default the first of all, including those of other processes.

    **Raises:** `InputError` for more devices than available.
    """

    def __init__(
        self,
        *,
        batch: int = 1,
        x: int = 1,
        y: int = 1,
        z: int = 1,
        devices: Sequence[Any] | None = None,
    ):
        self.shape = {_BATCH: batch, "x": x, "y": y, "z": z}
        given = jax.devices() if devices is None else list(devices)
        count = math.prod(self.shape.values())
        if min(self.shape.values()) < 1 or count > len(given):
            raise InputError(
                f"{self!r} needs {count} devices, there are {len(given)}; give 1 or more an axis "
                "and not more in all, or on a CPU set jax.config.update('jax_num_cpu_devices', N) "
                "first (the command: --devices N)"
            )
        self.jax_mesh = jax.sharding.Mesh(
            np.asarray(given[:count]).reshape(tuple(self.shape.values())),
            tuple(self.shape),
            axis_types=(AxisType.Auto,) * 4,
        )
        self._entered: list[Any] = []

    def __enter__(self) -> "Mesh":
        context = jax.set_mesh(self.jax_mesh)
        context.__enter__()
        self._entered.append(context)
        _ACTIVE.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _ACTIVE.pop()
        self._entered.pop().__exit__(*error)

    def sharding(self, shape: tuple[int, ...], grid: Grid) -> NamedSharding:
        """The sharding of an array: by cells if its trailing axes are the grid's, else replicated.

        The axis before the cells is the batch's, if there is one and it divides evenly; further
        leading axes are not distributed.

        **Raises:** `InputError` for a number of cells that does not divide evenly.
        """
        leading = len(shape) - grid.ndim
        if leading < 0 or shape[leading:] != grid.cells:
            return NamedSharding(self.jax_mesh, PartitionSpec())
        names: list[str | None] = [None] * leading
        if leading and shape[leading - 1] % self.shape[_BATCH] == 0:
            names[leading - 1] = _BATCH
        for name, n in zip(_SPACE, grid.cells, strict=False):
            if n % self.shape[name]:
                raise InputError(
                    f"Mesh: {n} cells along {name} cannot be shared out evenly over "
                    f"{self.shape[name]} devices; take a number that divides them"
                )
            names.append(name)
        return NamedSharding(self.jax_mesh, PartitionSpec(*names))

    def place(self, tree: PyTree[Any], grid: Grid) -> PyTree[Any]:
        """Distribute fields, (*batch, *cells); replicate other arrays of the tree.

        Each process slices only its own devices' part of every array, so an array that reads a file
        on indexing is read in part by each.
        """

        def put(leaf: Any) -> Any:
            if not hasattr(leaf, "shape"):
                return leaf
            where = self.sharding(tuple(leaf.shape), grid)
            if isinstance(leaf, Tracer):
                return jax.lax.with_sharding_constraint(leaf, where)
            return jax.make_array_from_callback(
                tuple(leaf.shape), where, lambda index: np.asarray(leaf[index])
            )

        return jax.tree.map(put, tree)

    def replicate(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Replicate all arrays of the tree on every device, such as a model's parameters.

        All processes must pass the same values; JAX refuses others.
        """
        whole = NamedSharding(self.jax_mesh, PartitionSpec())
        return jax.tree.map(lambda x: jax.device_put(x, whole) if eqx.is_array(x) else x, tree)

    def each(self, values: np.ndarray) -> jax.Array:
        """An array on every device, possibly with different values per process, such as a time."""
        whole = NamedSharding(self.jax_mesh, PartitionSpec())
        return jax.make_array_from_callback(values.shape, whole, lambda index: values[index])

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={n}" for name, n in self.shape.items() if n != 1)
        return f"Mesh({shown})"
