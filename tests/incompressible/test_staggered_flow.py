"""Velocity and pressure on the staggered arrangement: exact identities, orders, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff import incompressible
from impindiff.incompressible._arrangement import Arrangement
from impindiff.incompressible._projection import poisson
from impindiff.steppers import stage_residual

FIXED = ((ipd.Dirichlet(0.0),) * 2,) * 2
LID = (((ipd.Dirichlet(0.0),) * 2, (ipd.Dirichlet(0.0), ipd.Dirichlet(1.0))), FIXED)
WIND = (1.0, 0.5)


def periodic(n, ndim=2):
    return ipd.Grid((0.0,) * ndim, (2 * np.pi,) * ndim, (n,) * ndim)


def wavy(n, ndim=2):
    """Periodic axes whose cells vary smoothly in width."""
    part = np.arange(n + 1) / n
    return ipd.Grid.from_edges((2 * np.pi * (part + 0.06 * np.sin(2 * np.pi * part)),) * ndim)


def stretched(n, boundary=FIXED):
    return ipd.Grid.from_edges((ipd.grid.tanh(0.0, 1.0, n, 1.5),) * 2, boundary)


def inflow_and_outflow():
    """A channel: velocity given on the left, pressure 0 on the right; and its grid."""
    still, wall = ipd.Dirichlet(0.0), (ipd.Dirichlet(0.0),) * 2
    boundary = (((ipd.Dirichlet(1.0), ipd.Neumann()), wall), ((still, ipd.Neumann()), wall))
    edges = (ipd.grid.geometric(0.0, 3.0, 12, growth=1.1), ipd.grid.tanh(0.0, 1.0, 8, 1.2))
    return ipd.Grid.from_edges(edges, FIXED), boundary


def random_state(grid, seed=0):
    keys = jax.random.split(jax.random.key(seed), grid.ndim + 1)
    *v, p = (jax.random.normal(key, grid.cells) for key in keys)
    return {"velocity": tuple(v), "pressure": p}


def vortices(grid, t, nu):
    """Taylor and Green's, carried by a wind: an exact solution."""

    def at(points, which):
        x, y = points[0] - WIND[0] * t, points[1] - WIND[1] * t
        size = jnp.exp(-2 * nu * t)
        return (
            WIND[0] + size * jnp.sin(x) * jnp.cos(y),
            WIND[1] - size * jnp.cos(x) * jnp.sin(y),
            size**2 * (jnp.cos(2 * x) + jnp.cos(2 * y)) / 4,
        )[which]

    v = tuple(at(incompressible.face_points(grid, i), i) for i in (0, 1))
    return {"velocity": v, "pressure": at(grid.centers, 2)}


class Flow(ipd.HybridModel):
    grid: ipd.Grid
    nu: float | jax.Array
    boundary: tuple | None = None
    force: tuple | None = None

    def mass(self):
        return incompressible.mass(self.grid, self.boundary)

    def tendency(self, t, u, latent):
        return incompressible.tendency(
            u, self.nu, self.grid, boundary=self.boundary, force=self.force, t=t
        )


CASES = {
    "periodic": lambda: (periodic(8), None),
    "lid, stretched": lambda: (stretched(8), LID),
    "channel": inflow_and_outflow,
    "three dimensions": lambda: (wavy(6, 3), None),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_minus_the_transpose_of_the_divergence(case):
    grid, boundary = CASES[case]()
    here = Arrangement(grid, boundary)
    state = random_state(grid)
    v, p = [here.closed(x, i) for i, x in enumerate(state["velocity"])], state["pressure"]
    volumes = np.asarray(grid.volumes)
    around = [volumes / here.widths(i, float) * here.between(i, float) for i in range(grid.ndim)]
    by_cells = jnp.sum(volumes * p * here.linear_divergence(v))
    pairs = zip(around, v, here.gradient(p), strict=True)
    by_faces = sum(jnp.sum(w * x * g) for w, x, g in pairs)
    np.testing.assert_allclose(by_cells, -by_faces, rtol=1e-12)


@pytest.mark.few(1)
@pytest.mark.parametrize("case", CASES)
def test_poissons_equation_is_solved_exactly(case):
    grid, boundary = CASES[case]()
    here = Arrangement(grid, boundary)
    p = random_state(grid)["pressure"]
    p = p if here.has_outflow else p - here.mean(p)
    found = poisson(here, p)(here.linear_divergence(here.gradient(p)))
    np.testing.assert_allclose(found, p, atol=1e-11)


@pytest.mark.few(2)
@pytest.mark.parametrize("case", CASES)
def test_a_projected_velocity_has_no_divergence(case):
    grid, boundary = CASES[case]()
    v = incompressible.project(random_state(grid)["velocity"], grid, boundary=boundary)
    left = incompressible.divergence(v, grid, boundary=boundary)
    np.testing.assert_allclose(left, 0.0, atol=1e-11)
    again = incompressible.project(v, grid, boundary=boundary)
    for one, other in zip(v, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)


def test_no_pressure_but_a_constant_is_without_force():
    """The collocated gradient has four on a periodic grid: a checkerboard has no force there."""
    grid = periodic(8)
    here = Arrangement(grid, None)
    matrix = jax.jacfwd(lambda p: here.linear_divergence(here.gradient(p)).ravel())(
        jnp.zeros(grid.cells)
    )
    assert np.linalg.matrix_rank(matrix.reshape(64, 64)) == 63
    i, j = np.indices(grid.cells)
    assert min(float(jnp.abs(g).max()) for g in here.gradient(jnp.asarray((-1.0) ** (i + j)))) > 1


@pytest.mark.slow
@pytest.mark.parametrize("varies", [False, True])
def test_the_equations_hold_to_second_order(varies):
    """Of Taylor and Green's vortices; a viscosity in cells has the symmetric stress."""
    errors = []
    for n in (16, 32):
        grid, nu = periodic(n), 0.05
        now, rate = jax.jvp(lambda t, grid=grid: vortices(grid, t, 0.05), (0.3,), (1.0,))
        given = jnp.full(grid.cells, nu) if varies else nu
        found = incompressible.tendency(now, given, grid, t=0.3)
        pairs = zip(found["velocity"], rate["velocity"], strict=True)
        errors.append(max(float(jnp.abs(a - b).max()) for a, b in pairs))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


@pytest.mark.slow
def test_a_viscosity_that_varies_shears_a_flow_by_its_stress():
    """u = y (1 - y) / 2 between walls, nu = 1 + x: div(nu (grad u + grad u^T)) is known."""
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (8, 16), boundary=FIXED)
    x, y = incompressible.face_points(grid, 0)
    height = incompressible.face_points(grid, 1)[1]
    nu = 1 + grid.centers[0]
    state = {
        "velocity": (y * (1 - y) / 2, jnp.zeros(grid.cells)),
        "pressure": jnp.zeros(grid.cells),
    }
    found = incompressible.tendency(state, nu, grid)["velocity"]
    # away from the sides: across x this u does not hold, across y differences are one-sided
    np.testing.assert_allclose(found[0][2:-2, 1:-1], -(1 + x)[2:-2, 1:-1], atol=1e-12)
    np.testing.assert_allclose(found[1][2:-2, :-1], (0.5 - height)[2:-2, :-1], atol=1e-12)


@pytest.mark.few(1)
@pytest.mark.parametrize("grid", [periodic(8), wavy(8), wavy(6, 3)])
def test_without_viscosity_momentum_and_energy_are_kept(grid):
    state = random_state(grid)
    here = Arrangement(grid, None)
    v = incompressible.project(state["velocity"], grid)
    found = incompressible.tendency({**state, "velocity": v}, 0.0, grid)["velocity"]
    volumes = np.asarray(grid.volumes)
    around = [volumes / here.widths(i, float) * here.between(i, float) for i in range(grid.ndim)]
    for w, rate in zip(around, found, strict=True):
        assert abs(float(jnp.sum(w * rate))) < 1e-11
    work = [jnp.sum(w * x * rate) for w, x, rate in zip(around, v, found, strict=True)]
    size = sum(jnp.sum(w * jnp.abs(x * rate)) for w, x, rate in zip(around, v, found, strict=True))
    assert abs(float(sum(work))) < 1e-12 * float(size)


@pytest.mark.slow
def test_flow_between_walls_is_poiseuilles():
    """A parabola, driven by a force along a periodic axis: its steady state, to second order."""
    errors = []
    for n in (8, 16):
        sides = (ipd.Periodic(), ipd.Dirichlet(0.0))
        grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (4, n), boundary=sides)
        y = incompressible.face_points(grid, 0)[1]
        state = {"velocity": (y * (1 - y) / 2, 0 * y), "pressure": 0 * y}
        found = incompressible.tendency(state, 1.0, grid, force=(1.0, 0.0))
        errors.append(float(jnp.abs(found["velocity"][0]).sum()) / n)
        np.testing.assert_allclose(found["velocity"][0][:, 1:-1], 0.0, atol=1e-11)
    assert errors[1] < 0.51 * errors[0]  # that of the cells on the walls, O(1) in half as many


@pytest.mark.slow
def test_a_plug_is_pushed_by_the_pressure_that_its_inflow_needs():
    """u = sin t between sides without friction: p = cos t (3 - x), with 0 at the outflow."""
    grid, _ = inflow_and_outflow()
    free, given = ipd.Neumann(), ipd.Dirichlet(jnp.sin)
    boundary = (((given, free), free), ((ipd.Dirichlet(0.0), free), ipd.Dirichlet(0.0)))
    ones, t = jnp.ones(grid.cells), jnp.asarray(0.4)
    v = (jnp.sin(t) * ones, 0 * ones)
    state = {"velocity": v, "pressure": jnp.cos(t) * (3.0 - grid.centers[0])}
    found = incompressible.tendency(state, 0.1, grid, boundary=boundary, t=t)
    np.testing.assert_allclose(found["velocity"][0], jnp.cos(t), atol=1e-12)
    np.testing.assert_allclose(found["velocity"][1], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["pressure"], 0.0, atol=1e-10)
    # an array has one state for each leading index
    twice = incompressible.at_centers([jnp.stack([x, x]) for x in v], grid, boundary=boundary, t=t)
    np.testing.assert_allclose(twice[0], jnp.sin(t) * jnp.stack([ones, ones]), atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["lid, stretched", "channel"])
@pytest.mark.parametrize("weight", [0.0, 10.0, None])
def test_the_preconditioner_is_transposed_and_solves_for_the_divergence(case, weight):
    """Whatever the cycles of the velocity leave, its divergence is that of the two equations."""
    grid, boundary = CASES[case]()
    z = random_state(grid)
    w = jnp.asarray(1.0 if weight is None else weight)
    stage = ipd.StageEquation(
        Flow(grid, 0.1, boundary), jnp.asarray(0.0), w, None, z, steady=weight is None
    )
    preconditioner = incompressible.PressureCorrection(boundary)
    x, y = random_state(grid, 1), random_state(grid, 2)

    @jax.jit
    def applied(x, y):
        inverse = preconditioner(z, stage)
        _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)
        return inverse(x), *jax.linear_transpose(inverse, x)(y), jacobian(inverse(x))

    found, turned, product = applied(x, y)

    def dot(a, b):
        return sum(jnp.vdot(p, q) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True))

    np.testing.assert_allclose(dot(found, y), dot(x, turned), rtol=1e-9)
    left = jax.tree.map(jnp.subtract, product, x)
    if weight == 0.0:
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(left)) < 0.01
    else:
        # w r_p + div r_v of what is left, the combination without the pressure
        here = Arrangement(grid, boundary)
        both = w * left["pressure"] + here.linear_divergence(left["velocity"])
        both = both if here.has_outflow else both - here.mean(both)
        np.testing.assert_allclose(both, 0.0, atol=1e-9 * float(w))


@pytest.mark.slow
def test_a_steady_cavity_has_no_divergence_and_the_exact_gradient():
    """Misfit of velocity and pressure, by viscosity and by a force."""
    grid = stretched(6)
    solver = ipd.NewtonKrylov(rtol=1e-13, preconditioner=incompressible.PressureCorrection(LID))
    adjoint = ipd.ImplicitAdjoint(rtol=1e-12)
    rest = jax.tree.map(jnp.zeros_like, random_state(grid))
    shape = jnp.sin(np.pi * incompressible.face_points(grid, 0)[1])

    def misfit(parameters):
        nu, strength = parameters
        model = Flow(grid, nu, LID, (strength * shape, 0.0))
        end = ipd.steady(model, rest, solver=solver, adjoint=adjoint, check_unique=False).u
        return jnp.sum(end["velocity"][0] ** 2) + jnp.sum(end["pressure"] ** 2), end

    value = jax.jit(jax.value_and_grad(misfit, has_aux=True))
    at = jnp.asarray([0.05, 0.3])
    (_, end), gradient = value(at)
    for k in range(2):
        # of fourth order
        step = 1e-3 * at[k] * jnp.eye(2)[k]
        near, far = (value(at + n * step)[0][0] - value(at - n * step)[0][0] for n in (1, 2))
        expected = (8 * near - far) / (12 * step[k])
        np.testing.assert_allclose(gradient[k], expected, rtol=1e-8)
    left = incompressible.divergence(end["velocity"], grid, boundary=LID)
    assert float(jnp.abs(left).max()) < 1e-10
    assert abs(float(jnp.sum(end["pressure"] * grid.volumes))) < 1e-12


def refusals():
    grid, z = periodic(4), random_state(periodic(4))
    walls = ipd.Grid((0.0, 0.0), (1.0, 1.0), (4, 4), boundary=FIXED)
    line = ipd.Grid((0.0,), (1.0,), (4,))
    half, out = (ipd.Periodic(), ipd.Dirichlet()), (ipd.Neumann(), ipd.Dirichlet())
    blown = ((ipd.Dirichlet(1.0), ipd.Dirichlet(0.0)), ipd.Dirichlet(0.0))
    return {
        "2 or 3 axes": ({"velocity": (z["pressure"][0],), "pressure": z["pressure"][0]}, 1.0, line),
        "one array per axis": (z["pressure"], 1.0, grid),
        "tuple of 2 arrays": ({**z, "velocity": z["velocity"][0]}, 1.0, grid),
        "viscosity: expected 0 or more": (z, -1.0, grid),
        "array in cells": (z, jnp.ones(3), grid),
        "needs 2 entries": (z, 1.0, grid, FIXED[:1]),
        "Periodic for some components": (z, 1.0, grid, (half, FIXED)),
        "put an outflow on an upper side": (z, 1.0, walls, ((out, out[1]), FIXED)),
        "more flows in than out": (z, 1.0, walls, (blown, FIXED)),
    }


@pytest.mark.parametrize("words", refusals())
def test_refusals_say_what_was_expected(words):
    state, viscosity, grid, *boundary = refusals()[words]
    with pytest.raises(ipd.InputError, match=words):
        incompressible.tendency(state, viscosity, grid, boundary=boundary[0] if boundary else None)
