"""Transport by a nonlinear flux or a velocity, without aliasing of quadratic terms."""

from collections.abc import Sequence
from typing import Literal

from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.operators.given import Flux, fluxes_per_axis, given_velocity
from impindiff.spectral._modes import Modes


def convection(
    u: Float[Array, "..."], flux: Flux | Sequence[Flux], grid: Grid
) -> Float[Array, "..."]:
    """Convection -div f(u), dealiased: f of the modes below n / 3, and of the result those modes.

    Burgers' equation has `flux=lambda u: 0.5 * u**2`. For a quadratic f the modes kept have no
    aliasing error: the scheme is Galerkin's, which conserves the sum of u, and of u^2 in one
    dimension. Higher powers alias a little. Nothing is added against oscillations: a shock needs a
    diffusion that resolves it, or `ipd.convection`.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `flux`: f, used along every axis, or a sequence of grid.ndim of them, as for `ipd.convection`.
    - `grid`: the grid: uniform, Cartesian, periodic on all axes, without a domain.

    **Returns:** (*batch, *cells), in u's dtype, in units of f over length. Its sum is 0 to
    round-off.

    **Raises:** `InputError` on a `flux` that is neither of the above or returns another shape, if
    u's trailing axes are not the grid's, and for another grid.

    Cost: 4 transforms, and one more for each further f.

    Source: Canuto, Hussaini, Quarteroni and Zang, Spectral Methods: Fundamentals in Single Domains,
    2006, section 3.3; Orszag, On the elimination of aliasing in finite-difference schemes by
    filtering high-wavenumber components, J. Atmos. Sci. 28 (1971).
    """
    grid.check_field(u, "u")
    modes = Modes(grid, "spectral.convection")
    fluxes = fluxes_per_axis(flux, grid)
    kept = modes.resolved(u.dtype)
    smooth = modes.backward(kept * modes.forward(u), u.dtype)
    outflow = modes.divergence([modes.forward(f(smooth)) for f in fluxes], u.dtype)
    return modes.backward(-kept * outflow, u.dtype)


def advection(
    u: Float[Array, "..."],
    velocity: ArrayLike | Sequence[ArrayLike],
    grid: Grid,
    form: Literal["conservative", "advective"] = "conservative",
) -> Float[Array, "..."]:
    """Advection -div(v u), or -v . grad u, dealiased as `convection` is.

    The vector Burgers equation carries each component by all of them, in the advective form:
    `advection(u[0], u, grid, "advective")`. The two forms differ by u div v.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `velocity`: an array (ndim, ...) or a sequence of ndim entries, each a number or cell-centred,
      (..., *cells), whose leading axes broadcast with u's.
    - `grid`: as for `convection`.
    - `form`: "conservative" or "advective".

    **Returns:** (*batch, *cells), in u's dtype, in units of u times velocity over length. In the
    conservative form its sum is 0 to round-off.

    **Raises:** `InputError` on shapes that do not fit the grid, another form, and for another grid.

    Cost: 3 ndim + 3 transforms; a velocity of numbers saves 2 ndim of them.

    Source: as `convection`.
    """
    grid.check_field(u, "u")
    modes = Modes(grid, "spectral.advection")
    if form not in ("conservative", "advective"):
        raise InputError(
            f"spectral.advection: form is {form!r}; expected 'conservative' or 'advective'"
        )
    kept = modes.resolved(u.dtype)

    def smooth(field: Array) -> Array:
        return modes.backward(kept * modes.forward(field), u.dtype)

    given = given_velocity(velocity, grid, u.dtype)
    carried_by = [v if v.ndim == 0 else smooth(v) for v in given]
    if form == "conservative":
        carried = smooth(u)
        outflow = modes.divergence([modes.forward(v * carried) for v in carried_by], u.dtype)
    else:
        coefficients = kept * modes.forward(u)
        along = [
            v * modes.backward(1j * modes.odd_wave_numbers(axis, u.dtype) * coefficients, u.dtype)
            for axis, v in enumerate(carried_by)
        ]
        outflow = modes.forward(sum(along[1:], start=along[0]))
    return modes.backward(-kept * outflow, u.dtype)
