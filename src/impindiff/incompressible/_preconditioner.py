"""Pressure correction as the preconditioner of velocity and pressure together."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit import LinearMap
from impindiff.incompressible._arrangement import Arrangement, SidesLike
from impindiff.incompressible._projection import poisson
from impindiff.operators import Elliptic, multigrid_cycle
from impindiff.preconditioners import m_matrix
from impindiff.preconditioners.components import component_matrix, grid_of
from impindiff.steppers import StageEquation, stage_residual
from impindiff.steppers.mass import scales


class PressureCorrection(eqx.Module):
    r"""Block factorisation of a step's equation by Poisson's equation of the pressure.

        walls = (lid, still)
        preconditioner = ipd.incompressible.PressureCorrection(walls)
        ipd.BDF2(solver=ipd.NewtonKrylov(preconditioner=preconditioner))

    With m = 1 (0 in a steady state), w the stage's weight and J the derivative of the forces a(v)
    of `tendency`, for residuals r_v and r_p:

    1. $(m - w J)\, v^* = r_v$, one multigrid cycle per component;
    2. $\nabla^2 \chi = (\nabla \cdot v^* - s) / w$ with $s = (w r_p + \nabla \cdot r_v) / (m +
       \gamma w)$, the divergence that the two equations imply, exactly;
    3. $\delta v = v^* - w \nabla \chi$, and $\nabla^2 \delta p = \nabla \cdot (m - w J) \nabla
       \chi$, as if the gradient and w J commuted in the sense of least squares.

    They do in a periodic box at rest, where only the cycles are inexact. Krylov iterations grow
    slowly with the number of cells and with the time step, most in steady states and at high
    Reynolds numbers.

    - `boundary`: the same as for `tendency`.

    The model has `mass` of this package, a field `grid`, and a state with the keys "velocity" and
    "pressure"; further fields on the grid get a multigrid cycle each. The adjoint solve uses the
    transpose. Raises `InputError` for a model without `grid` or another state.

    Cost: a multigrid cycle per component, two solves of Poisson's equation by transforms along the
    axes, two products with the Jacobian.

    Source: Elman, Howle, Shadid, Shuttleworth and Tuminaro, "Block preconditioners based on
    approximate commutators", SIAM J. Sci. Comput. 27 (2006); Brown, Cortez and Minion, "Accurate
    projection methods for the incompressible Navier-Stokes equations", J. Comput. Phys. 168 (2001).
    """

    boundary: SidesLike | None = None

    def __call__(self, z: PyTree, stage: StageEquation) -> LinearMap:
        """Build the linear map v -> (dF/dz)^{-1} v at z, approximately; see `NewtonKrylov`."""
        grid = grid_of(stage, "PressureCorrection")
        if not isinstance(z, dict) or not {"velocity", "pressure"} <= set(z):
            raise InputError(
                "PressureCorrection: expected a state with the keys 'velocity' and 'pressure', got "
                f"{jax.tree.structure(z)}"
            )
        here = Arrangement(grid, self.boundary)
        dtype = z["pressure"].dtype
        weight = jnp.ones((), dtype) if stage.steady else jnp.asarray(stage.weight, dtype)
        safe_weight = jnp.where(weight == 0, 1.0, weight)
        m = 0.0 if stage.steady else 1.0
        zeros = jax.tree.map(jnp.zeros_like, z)
        _, rate = jax.linearize(stage.tendency, z)

        def turned(v: Any) -> Any:
            return rate({**zeros, "velocity": v})

        gamma = _damping(here, turned, zeros["velocity"])
        scale = scales(stage.model, z)
        solve_poisson = poisson(here, z["pressure"])
        solve_others = _cycles(z, stage)

        def inverse(v: PyTree) -> PyTree:
            v = jax.tree.map(jnp.multiply, jax.tree.map(jnp.asarray, scale), v)
            first = solve_others(v)
            asked = here.linear_divergence(v["velocity"])
            found = here.linear_divergence(first["velocity"])
            wanted = (weight * v["pressure"] + asked) / (m + gamma * weight)
            source = (found - wanted) / safe_weight
            if not stage.steady:
                # the same without a division by the weight, for an exact v*
                moved = here.linear_divergence(turned(first["velocity"])["velocity"])
                share = (gamma * asked - v["pressure"]) / (1 + gamma * weight)
                source = jnp.where(gamma * weight > 1, source, moved + share)
            chi = solve_poisson(source)
            slope = tuple(here.closed(g, axis) for axis, g in enumerate(here.gradient(chi)))
            turning = here.linear_divergence(turned(slope)["velocity"])
            pressure = m * chi - weight * solve_poisson(turning)
            if not here.has_outflow:
                level = here.mean(v["pressure"]) / here.level_rate()
                pressure = pressure - here.mean(pressure) + level
            pairs = zip(first["velocity"], slope, strict=True)
            velocity = tuple(x - weight * g for x, g in pairs)
            return {**first, "velocity": velocity, "pressure": pressure}

        return inverse


def _damping(
    here: Arrangement, turned: Callable[[Any], Any], like: Sequence[Array]
) -> Float[Array, ""]:
    """The rate gamma of `tendency`, by one product with the Jacobian.

    Its row of the pressure is -div of those of the velocity, minus gamma times the divergence.
    """
    n = here.grid.cells[0]
    shape = [n] + [1] * (here.grid.ndim - 1)
    signs = jnp.where(jnp.arange(n) % 2 == 0, 1.0, -1.0).reshape(shape)
    probe = (like[0] + signs.astype(like[0].dtype), *like[1:])
    found, spread = turned(probe), here.linear_divergence(probe)
    left = found["pressure"] + here.linear_divergence(found["velocity"])
    return -jnp.sum(left * spread) / jnp.sum(spread * spread)


def _cycles(z: PyTree, stage: StageEquation) -> LinearMap:
    """Multigrid cycles for every field but the pressure, as one program for all of them."""
    grid = grid_of(stage, "PressureCorrection")
    leaves, structure = jax.tree.flatten(z)
    pressure = jax.tree.unflatten(structure, range(len(leaves)))["pressure"]
    chosen = [i for i, leaf in enumerate(leaves) if i != pressure and leaf.shape == grid.cells]

    def residual(z: PyTree) -> PyTree:
        return stage_residual(z, stage)

    matrices = [component_matrix(residual, z, i, grid) for i in chosen]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *matrices)
    like = jnp.zeros(grid.cells, z["pressure"].dtype)

    def of_one(matrix: Elliptic) -> Any:
        return eqx.filter_closure_convert(multigrid_cycle(m_matrix(matrix)), like)

    cycles = eqx.filter_vmap(of_one)(stacked)

    def solve(v: PyTree) -> PyTree:
        out = jax.tree.leaves(v)
        given = jnp.stack([out[i] for i in chosen])
        found = eqx.filter_vmap(lambda cycle, b: cycle(b))(cycles, given)
        for place, i in enumerate(chosen):
            out[i] = found[place]
        return jax.tree.unflatten(structure, out)

    return solve
