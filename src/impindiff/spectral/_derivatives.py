"""The gradient and the Laplacian of a field by its Fourier modes."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from impindiff.grid import Grid
from impindiff.spectral._modes import Modes


def gradient(u: Float[Array, "..."], grid: Grid) -> Float[Array, "..."]:
    """Gradient at cell centres, (du/dx_1, ..., du/dx_ndim), of the interpolating trigonometric sum.

    Each mode is multiplied by i k. Exact for modes below n / 2 along each axis; the error of a
    smooth periodic field falls faster than any power of the spacing. The mode n / 2, of which the
    grid has only the cosine, has derivative 0.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `grid`: the grid: uniform, Cartesian, periodic on all axes, without a domain.

    **Returns:** (ndim, *batch, *cells), in u's dtype and in units of u over length.

    **Raises:** `InputError` if u's trailing axes are not the grid's, and for another grid.

    Cost: ndim + 1 transforms.

    Source: Trefethen, Spectral Methods in MATLAB, 2000, ch. 3.
    """
    grid.check_field(u, "u")
    modes = Modes(grid, "spectral.gradient")
    coefficients = modes.forward(u)
    parts = [1j * modes.odd_wave_numbers(axis, u.dtype) * coefficients for axis in range(grid.ndim)]
    return modes.backward(jnp.stack(parts), u.dtype)


def laplacian(u: Float[Array, "..."], grid: Grid) -> Float[Array, "..."]:
    """Laplacian of the interpolating trigonometric sum: each mode times -|k|^2.

    Symmetric and negative semi-definite. Exact for every mode of the grid, n / 2 included, so that
    it is not quite the divergence of `gradient`, which loses that one. For D times it in an
    implicit step take the preconditioner `FourierInverse`: without one, Krylov iterations grow with
    D dt (pi / h)^2.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `grid`: as for `gradient`.

    **Returns:** (*batch, *cells), in u's dtype and in units of u over length^2.

    **Raises:** as `gradient`.

    Cost: 2 transforms.

    Source: as `gradient`.
    """
    grid.check_field(u, "u")
    modes = Modes(grid, "spectral.laplacian")
    return modes.backward(-modes.squares(u.dtype) * modes.forward(u), u.dtype)
