"""Momentum and continuity on the staggered arrangement."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.grid.geometry import typical_spacing
from impindiff.grid.given import extremes, real_array
from impindiff.incompressible._arrangement import Arrangement, SidesLike, difference, layers, sums
from impindiff.operators.notes import note

State = dict[str, Any]


def mass(grid: Grid, boundary: SidesLike | None = None) -> State:
    """Masses of a flow, for `HybridModel.mass`: 0 for the pressure and for given velocities.

    **Arguments:**

    - `grid`, `boundary`: as for `tendency`.

    **Returns:** a pytree like the state: 1, or an array that is 0 on the upper side of the
    component's own axis where the velocity through it is given.
    """
    here = Arrangement(grid, boundary)
    found = []
    for axis in range(grid.ndim):
        if here.periodic[axis] or here.outflow[axis]:
            found.append(1.0)
            continue
        shape = [1] * grid.ndim
        shape[axis] = -1
        found.append(
            (np.arange(grid.cells[axis]) < grid.cells[axis] - 1).astype(float).reshape(shape)
        )
    return {"velocity": tuple(found), "pressure": 0.0}


def tendency(
    state: State,
    viscosity: ArrayLike,
    grid: Grid,
    *,
    boundary: SidesLike | None = None,
    force: Sequence[ArrayLike] | None = None,
    t: ArrayLike | None = None,
) -> State:
    r"""Right-hand sides of incompressible flow, velocity v on faces and pressure p in cells.

    $$\partial_t v = a(v) - \nabla p, \quad
      a = -\nabla \cdot (v v) + \nabla \cdot (\nu \nabla v) + f, \quad \nabla \cdot v = 0$$

    p is the pressure over the density. The constraint does not contain it, and steppers need one
    that does (an index of 1). So its time derivative takes its place, with the constraint itself as
    a damping at the rate gamma of diffusion between neighbouring cells:

    $$0 = \nabla \cdot (a(v) - \nabla p) + \gamma \, \nabla \cdot v + \bar p / L^2$$

    Solutions that start without divergence (see `project`) are those of the equations above, in
    every step of every implicit stepper; another divergence decays at that rate. The initial
    pressure is found by `rollout`. Without an outflow the pressure has mean 0, by the last term,
    which then vanishes and costs no mass: 1 / L^2 is the sum of the inverse squares of the box's
    sides.

    The arrangement is Harlow and Welch's: differences span one cell, so that no pressure but a
    constant is without force, and a checkerboard cannot arise. Central differences, second order.
    Momentum is conserved; so is kinetic energy without viscosity and walls that move, on stretched
    axes too, since the plain mean of two neighbours is carried: an oscillation where the cell
    Peclet number |v| h / nu is above 2 does not grow.

    **Arguments:**

    - `state`: {"velocity": (u, v) or (u, v, w), "pressure": p}, arrays (*batch, *cells). Component
      i is that on the upper face across axis i of each cell, at `face_points(grid, i)`. Further
      entries are not used.
    - `viscosity`: nu >= 0, kinematic: a number, or an array in cells, (*cells), learned or a
      function of the state. Where it varies the stress is nu (grad v + (grad v)^T).
    - `grid`: Cartesian, 2 or 3 axes, uniform or stretched, without a domain.
    - `boundary`: for each component of the velocity its conditions, as `Grid` takes them; default
      the grid's own for all of them. Along a component's own axis: `Dirichlet`, the velocity
      through the side, or, on an upper side, `Neumann`, an outflow with a pressure of 0 on it.
      Along other axes: any condition, such as `Dirichlet(1.0)` for a lid or `Neumann()` for a side
      without friction. Values on a side are those at the component's places.
    - `force`: f per mass, for each component a number or an array at its places, (*cells).
    - `t`: time, for conditions that depend on it.

    **Returns:** {"velocity": rates, "pressure": the constraint's residual}. On an upper side with a
    given velocity the entry is the difference from it: `mass` is 0 there.

    **Raises:** `InputError` for another grid, state or viscosity, for conditions that are not among
    those above, and where more is known to flow in than out.

    Source: Harlow and Welch, "Numerical calculation of time-dependent viscous incompressible flow
    of fluid with free surface", Phys. Fluids 8 (1965); Verstappen and Veldman, "Symmetry-preserving
    discretization of turbulent flow", J. Comput. Phys. 187 (2003); Baumgarte, "Stabilization of
    constraints and integrals of motion in dynamical systems", Comput. Methods Appl. Mech. Eng. 1
    (1972).
    """
    v, p, here, nu = _checked(state, viscosity, grid, boundary)
    forces = _forces(force, grid, p)
    rates = tuple(
        here.closed(_balance(i, v, p, nu, here, t) + forces[i], i) for i in range(grid.ndim)
    )
    damped = here.divergence(rates, t, rate=True)
    damped = damped + damping(nu, grid) * here.divergence(v, t)
    if not here.has_outflow:
        damped = damped + here.level_rate() * here.mean(p)
    return {
        "velocity": tuple(
            rates[i] + (here.with_given(v[i], i, t) - v[i]) for i in range(grid.ndim)
        ),
        "pressure": -damped,
    }


def damping(nu: Array, grid: Grid) -> Array:
    """Rate at which a divergence decays: that of diffusion between neighbouring cells."""
    return jnp.mean(nu) * sum(2.0 / h**2 for h in typical_spacing(grid))


def _balance(
    i: int, v: Sequence[Array], p: Array, nu: Array, here: Arrangement, t: ArrayLike | None
) -> Array:
    """Minus the outflow of momentum i from the volumes around its faces, per volume."""
    dtype, along = p.dtype, i - here.grid.ndim
    varies, n = nu.ndim > 0, p.shape[along]
    own = here.normal_faces(v[i], i, t)
    # at the centres of cells; the stress of a viscosity that varies has both of its parts
    slope = difference(own, along) / here.widths(i, dtype)
    normal = 2.0 * nu if varies else nu
    flux = (0.5 * sums(own, along)) ** 2 - normal * slope + p
    beyond = None
    if here.outflow[i]:
        _, ghost = here.beside(jnp.zeros_like(v[i]), i, i, t)
        given = ghost / layers(here.widths(i, dtype), along, n - 1, n)
        beyond = layers(v[i], along, n - 1, n) ** 2 - layers(normal, along, n - 1, n) * given
    total = (here.next_cell(flux, i, beyond) - flux) / here.between(i, dtype)
    h = here.widths(i, dtype)
    after = here.next_cell(jnp.asarray(h), i)
    for j in range(here.grid.ndim):
        if j == i:
            continue
        # on the edges between faces across i and j. What flows through is the mean of the two
        # cells' volumes, and what it carries the plain mean: no kinetic energy is made
        through = here.normal_faces(v[j], j, t)
        carrier = (h * through + here.next_cell(h * through, i)) / (h + after)
        low, high = here.beside(v[i], i, j, t)
        carried = jnp.concatenate([low, v[i], high], j - here.grid.ndim)
        shear = difference(carried, j - here.grid.ndim) / here.apart(j, dtype)
        if varies:
            shear = shear + (here.next_cell(through, i) - through) / here.between(i, dtype)
            shear = _on_edges(nu, i, j, here) * shear
        else:
            shear = nu * shear
        flux = 0.5 * carrier * sums(carried, j - here.grid.ndim) - shear
        total = total + difference(flux, j - here.grid.ndim) / here.widths(j, dtype)
    return -total


def _on_edges(nu: Array, i: int, j: int, here: Arrangement) -> Array:
    """A viscosity in cells on upper faces across i and all faces across j: means of 4 cells."""
    over = 0.5 * (nu + here.next_cell(nu, i))
    along = j - here.grid.ndim
    n = over.shape[along]
    first, last = layers(over, along, 0, 1), layers(over, along, n - 1, n)
    ends = (last, first) if here.periodic[j] else (first, last)
    return 0.5 * sums(jnp.concatenate([ends[0], over, ends[1]], along), along)


def _checked(
    state: State, viscosity: ArrayLike, grid: Grid, boundary: SidesLike | None
) -> tuple[tuple[Array, ...], Array, Arrangement, Array]:
    here = Arrangement(grid, boundary)
    here.check_balance()
    if not isinstance(state, dict) or not {"velocity", "pressure"} <= set(state):
        raise InputError(
            "incompressible: expected a state {'velocity': (one array per axis), 'pressure': "
            f"array}}, got {state!r:.80}"
        )
    v, p = checked_velocity(state["velocity"], grid), state["pressure"]
    grid.check_field(p, "pressure")
    nu = real_array(viscosity, p.dtype, "viscosity")
    if nu.ndim and nu.shape[-grid.ndim :] != grid.cells:
        raise InputError(
            f"viscosity: expected a number or an array in cells, {grid.cells}, got {nu.shape}"
        )
    least = extremes(viscosity)[0]
    if not least >= 0:
        raise InputError(f"viscosity: expected 0 or more, got {least:g}")
    note("ill_posed", lambda: jnp.any(nu < 0))
    return v, p, here, nu


def checked_velocity(velocity: Any, grid: Grid) -> tuple[Array, ...]:
    """The velocity as a tuple. Raises `InputError` unless it has a field for every axis."""
    if not isinstance(velocity, tuple | list) or len(velocity) != grid.ndim:
        raise InputError(
            f"velocity: expected a tuple of {grid.ndim} arrays, component i on the upper faces "
            f"across axis i of each cell, got {type(velocity).__name__}"
        )
    for axis, component in enumerate(velocity):
        grid.check_field(component, f"velocity[{axis}]")
    return tuple(velocity)


def _forces(force: Sequence[ArrayLike] | None, grid: Grid, like: Array) -> list[Array]:
    if force is None:
        return [jnp.zeros((), like.dtype)] * grid.ndim
    if len(force) != grid.ndim:
        raise InputError(f"force: expected {grid.ndim} entries, one per axis, got {len(force)}")
    found = []
    for axis, entry in enumerate(force):
        array = real_array(entry, like.dtype, f"force[{axis}]")
        if array.ndim and array.shape[-grid.ndim :] != grid.cells:
            raise InputError(
                f"force[{axis}]: expected a number or an array on faces, {grid.cells}, got "
                f"{array.shape}"
            )
        found.append(array)
    return found
