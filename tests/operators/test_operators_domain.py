"""Operators on a part of the box: conservation, exactness, signs, adjoints, orders, refusals."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin, tanh
from impindiff.operators import (
    Elliptic,
    advection,
    advection_diffusion,
    convection,
    diffusion,
    divergence,
    gradient,
)

RNG = np.random.default_rng(0)


def with_hole(x, y):
    return np.maximum(np.hypot(x - 0.013, y - 0.021) - 0.83, 0.3 - np.hypot(x - 0.25, y - 0.1))


def ball(x, y, z):
    return np.sqrt((x - 0.02) ** 2 + y**2 + z**2) - 0.8


def grids(embedded=None):
    """Cut cells and masks in one to three dimensions, with every kind of outer boundary."""
    more: Any = {"embedded": embedded}
    sides = (Dirichlet(0.3), Neumann(0.2)), Robin(1.0, 0.5, 0.1)
    mask = RNG.random((6, 7)) < 0.7
    return {
        "line": Grid((0.0,), (1.0,), (6,), (Neumann(),), domain=lambda x: x - 0.71, **more),
        "tilted": Grid((0.0, 0.0), (1.0, 1.0), (6, 7), sides, domain=lambda x, y: x + 0.4 * y - 0.8,
                       **more),
        "mask": Grid((0.0, 0.0), (1.0, 1.0), (6, 7), (Periodic(), sides[1]), domain=mask, **more),
        "waves": Grid((0.0, 0.0), (1.0, 1.0), (8, 6), (Periodic(), Neumann()),
                      domain=lambda x, y: y - 0.6 - 0.2 * np.sin(2 * np.pi * x), **more),
        "stretched": Grid.from_edges((tanh(-1.0, 1.0, 8), tanh(-1.0, 1.0, 9)), (Neumann(),) * 2,
                                     domain=with_hole, **more),
        "cylinder": Grid((0.0, 0.0), (1.0, 1.0), (6, 5), (Neumann(), Neumann()), "cylindrical",
                         domain=lambda r, z: r + 0.3 * z - 0.9, **more),
        "ball": Grid((-1.0,) * 3, (1.0,) * 3, (5,) * 3, (Neumann(),) * 3, domain=ball, **more),
    }  # fmt: skip


NAMES = tuple(grids())


def fields(grid):
    u = jnp.asarray(RNG.normal(size=grid.shape))
    D = jnp.asarray(RNG.uniform(0.5, 2.0, size=grid.shape))
    v = [
        jnp.asarray(RNG.normal(size=[n + (i == axis) for i, n in enumerate(grid.cells)]))
        for axis in range(grid.ndim)
    ]
    for axis, (low, _) in enumerate(grid.boundary):
        if isinstance(low, Periodic):
            v[axis] = jnp.moveaxis(v[axis], axis, 0)
            v[axis] = jnp.moveaxis(v[axis].at[-1].set(v[axis][0]), 0, axis)
    return u, D, v


@pytest.mark.few(1)
@pytest.mark.parametrize("name", NAMES)
def test_closed_domains_keep_their_total_and_cells_outside_their_value(name):
    grid = grids()[name]
    closed = tuple(
        low if isinstance(low, Periodic) else (Neumann() if not grid.starts_at_axis or i else high)
        for i, (low, high) in enumerate(grid.boundary)
    )
    u, D, v = fields(grid)
    for axis in range(grid.ndim):
        if not isinstance(grid.boundary[axis][0], Periodic):
            v[axis] = jnp.moveaxis(
                jnp.moveaxis(v[axis], axis, 0).at[0].set(0).at[-1].set(0), 0, axis
            )

    @jax.jit
    def both(u):
        schemes = ("upwind", "van_leer")
        return [advection_diffusion(u, v, D, grid, s, boundary=closed) for s in schemes]

    for rate in both(u):
        weighted = np.asarray(rate) * grid.volumes
        assert abs(weighted.sum()) < 1e-13 * np.abs(weighted).sum()
        assert np.all(np.asarray(rate)[~np.asarray(grid.inside)] == 0)
        assert np.isfinite(rate).all()


@pytest.mark.few(1)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wall", [Dirichlet(0.7), Robin(2.0, 0.3, 0.1)], ids=str)
def test_elliptic_is_the_same_operator_and_symmetric_by_volume(name, wall):
    grid = grids(wall)[name]
    u, D, _ = fields(grid)
    homogeneous = tuple(
        tuple(dataclasses.replace(s, value=0.0) if not isinstance(s, Periodic) else s for s in pair)
        for pair in grid.boundary
    )
    zero = dataclasses.replace(wall, value=0.0)

    @jax.jit
    def matrices(u):
        A = Elliptic.of(D, 0.7, grid, averaging="arithmetic")
        own = 0.7 * u - diffusion(u, D, grid, boundary=homogeneous, embedded=zero)
        return A(u), own, [jax.jacobian(f)(u) for f in (A, A.transposed(), A.per_cell())]

    ours, own, found = matrices(u)
    np.testing.assert_allclose(ours, own, atol=1e-9)
    matrix, transposed, whole = (np.asarray(m).reshape(u.size, u.size) for m in found)
    np.testing.assert_allclose(transposed, matrix.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(whole, whole.T, atol=1e-12 * np.abs(whole).max())
    # positive diagonal and no positive coupling: a step keeps a field positive
    assert np.diag(whole).min() > 0
    assert (whole - np.diag(np.diag(whole))).max() <= 1e-13 * np.abs(whole).max()


@pytest.mark.few(1)
@pytest.mark.parametrize("name", NAMES)
def test_products_with_the_jacobian_and_its_transpose_agree(name):
    grid = grids(Robin(2.0, 0.3, 0.1) if name in ("line", "waves", "ball") else Dirichlet(0.7))[
        name
    ]
    u, D, v = fields(grid)

    w, ct = (jnp.asarray(RNG.normal(size=grid.shape)) for _ in range(2))

    @jax.jit
    def products(u):
        def tendency(u):
            return advection_diffusion(u, v, D, grid)

        value, push = jax.linearize(tendency, u)
        parts = advection(u, v, grid) + diffusion(u, D, grid)
        return value, parts, push(w), jax.vjp(tendency, u)[1](ct)[0]

    value, parts, pushed, pulled = products(u)
    np.testing.assert_allclose(jnp.vdot(ct, pushed), jnp.vdot(pulled, w), rtol=1e-10)
    np.testing.assert_allclose(value, parts, rtol=1e-9, atol=1e-9)


def test_a_mask_is_a_wall_between_cells():
    inside = np.zeros((9, 4), bool)
    inside[2:7] = True
    u, D = jnp.asarray(RNG.normal(size=(9, 4))), jnp.asarray(RNG.uniform(1, 2, (9, 4)))
    flow = jnp.asarray(RNG.normal(size=(2, 9, 4)))
    sides = (Neumann(), Periodic())

    @jax.jit
    def of_whole(u, D, flow):
        found = []
        for wall in (Dirichlet(0.4), Neumann(-0.3), Robin(2.0, 0.3, 0.1)):
            grid = Grid((0.0, 0.0), (9.0, 4.0), (9, 4), sides, domain=inside, embedded=wall)
            found.append(diffusion(u, D, grid, averaging="harmonic")[2:7])
        found.append(gradient(u, grid)[1, 2:7])
        return [*found, divergence(flow, grid, embedded=Dirichlet())[2:7]]

    @jax.jit
    def of_part(u, D, flow):
        found = []
        for wall in (Dirichlet(0.4), Neumann(-0.3), Robin(2.0, 0.3, 0.1)):
            grid = Grid((2.0, 0.0), (7.0, 4.0), (5, 4), (wall, Periodic()))
            found.append(diffusion(u, D, grid, averaging="harmonic"))
        found.append(gradient(u, grid)[1])
        return [*found, divergence(flow, grid, boundary=(Dirichlet(), Periodic()))]

    parts = of_part(u[2:7], D[2:7], flow[:, 2:7])
    for ours, theirs in zip(of_whole(u, D, flow), parts, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def burgers(u):
    return 0.5 * u**2


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["rusanov", "central"])
def test_convection_in_a_mask_is_that_of_its_part(scheme):
    inside = np.zeros((9, 4), bool)
    inside[2:7] = True
    u = jnp.asarray(RNG.normal(size=(2, 9, 4)))
    for wall in (Dirichlet(0.4), Neumann(-0.3), Robin(2.0, 0.3, 0.1)):
        whole = Grid((0.0, 0.0), (9.0, 4.0), (9, 4), (Neumann(), Periodic()), domain=inside,
                     embedded=wall)  # fmt: skip
        part = Grid((2.0, 0.0), (7.0, 4.0), (5, 4), (wall, Periodic()))
        ours = convection(u, [burgers, jnp.sin], whole, scheme)
        np.testing.assert_allclose(
            ours[:, 2:7], convection(u[:, 2:7], [burgers, jnp.sin], part, scheme), atol=1e-12
        )
        assert not ours[:, :2].any()
        assert not ours[:, 7:].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tilted", "mask", "waves", "stretched", "ball"])
@pytest.mark.parametrize("scheme", ["rusanov", "central", "van_leer"])
def test_a_uniform_state_passes_a_domain_unchanged(name, scheme):
    grid = grids()[name]
    fluxes = [burgers, jnp.sin, jnp.cos][: grid.ndim]
    uniform = Dirichlet(0.6)
    sides = tuple(low if isinstance(low, Periodic) else uniform for low, _ in grid.boundary)
    rate = convection(
        jnp.full(grid.shape, 0.6), fluxes, grid, scheme, boundary=sides, embedded=uniform
    )
    np.testing.assert_allclose(rate * grid.volumes, 0, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_convection_is_monotone_in_a_domain(name):
    grid = grids()[name]
    u = jnp.asarray(RNG.uniform(-1, 1, grid.shape))
    wall = Dirichlet(0.5)
    J = jax.jacobian(lambda u: convection(u, burgers, grid, embedded=wall))(u)
    J = np.asarray(J).reshape(u.size, u.size)
    # a larger neighbour never lowers a rate, so steps with backward Euler make no extremum
    assert (J - np.diag(np.diag(J))).min() > -1e-12 * np.abs(J).max()


def steady_burgers(n, scheme):
    """Error of u = 1 + 0.3 sin(x + 2 y) in a disc with a hole, from u + div(u^2 / 2) = source."""
    box = Grid((-1.0,) * 2, (1.0,) * 2, (n, n), (Neumann(),) * 2, domain=with_hole)

    def exact(x, y):
        return 1 + 0.3 * np.sin(x + 2 * y)

    grid = dataclasses.replace(box, embedded=Dirichlet(exact(*box.embedded_points)))
    x, y = np.asarray(grid.centers)
    source = exact(x, y) * (1 + 0.9 * np.cos(x + 2 * y))

    @jax.jit
    def residual(u):
        return jnp.where(grid.inside, convection(u, burgers, grid, scheme) - u + source, -u)

    u = jnp.where(grid.inside, exact(x, y), 0.0)
    for _ in range(8):
        J = np.asarray(jax.jacobian(residual)(u)).reshape(u.size, u.size)
        u = u - np.linalg.solve(J, np.ravel(residual(u))).reshape(grid.shape)
    V = np.asarray(grid.volumes)
    assert np.abs(V * residual(u)).max() < 1e-9
    return (V * np.abs(u - exact(x, y))).sum() / V.sum()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "least"), [("rusanov", 1.7), ("van_leer", 2.6)])
def test_convection_converges_in_a_disc_with_a_hole(scheme, least):
    coarse, fine = steady_burgers(14, scheme), steady_burgers(28, scheme)
    assert coarse / fine > least


@pytest.mark.slow
def test_linear_fields_are_exact_in_cut_cells():
    slope = np.asarray([0.7, -0.4])

    def plane(x, y):
        return (2 * x + y - 1.63) / np.sqrt(5)

    def grid(wall):
        sides = (Dirichlet(0.0), Neumann(slope[0])), (Dirichlet(0.0), Neumann(slope[1]))
        found = Grid((0.0, 0.0), (1.0, 1.0), (8, 8), sides, domain=plane, embedded=wall)
        x, y = found.axis_centers(0), found.axis_centers(1)
        sides = ((Dirichlet(slope[1] * y), Neumann(slope[0])),
                 (Dirichlet(slope[0] * x), Neumann(slope[1])))  # fmt: skip
        return dataclasses.replace(found, boundary=sides)

    points = grid(Neumann()).embedded_points
    value, flux = slope[0] * points[0] + slope[1] * points[1], slope @ [2, 1] / np.sqrt(5)
    for wall in (Dirichlet(value), Neumann(flux), Robin(1.5, 0.5, 1.5 * value + 0.5 * flux)):
        here: Any = grid(wall)
        inside = here.domain.distance > 0
        x, y = here.centers
        rate = diffusion(slope[0] * x + slope[1] * y, 1.3, here)
        balanced = np.asarray(here.inside)
        if isinstance(wall, Dirichlet):
            # cut cells whose centre is outside follow the boundary's value instead
            balanced = balanced & inside
        np.testing.assert_allclose(rate[balanced], 0, atol=1e-9)
        np.testing.assert_allclose(
            gradient(slope[0] * x + slope[1] * y, here)[0][inside], slope[0], atol=1e-9
        )
    uniform = jnp.ones((2, 8, 8))
    inner = np.s_[1:-1, 1:-1]
    balanced = np.asarray(here.inside)[inner]
    np.testing.assert_allclose(divergence(uniform, here)[inner][balanced], 0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["Dirichlet", "Neumann", "Robin"])
def test_second_order_in_a_disc_with_a_hole(condition):
    """r^2 / 4 solves u / 2 - div grad u = r^2 / 8 - 1."""
    errors = []
    for n in (12, 24):
        box = Grid((-1.0,) * 2, (1.0,) * 2, (n, n), (Neumann(),) * 2, domain=with_hole)
        at, step = box.embedded_points, 1e-6
        n_x = (with_hole(at[0] + step, at[1]) - with_hole(at[0] - step, at[1])) / (2 * step)
        n_y = (with_hole(at[0], at[1] + step) - with_hole(at[0], at[1] - step)) / (2 * step)
        value, flux = (at[0] ** 2 + at[1] ** 2) / 4, (at[0] * n_x + at[1] * n_y) / 2
        wall = {
            "Dirichlet": Dirichlet(value),
            "Neumann": Neumann(flux),
            "Robin": Robin(1.0, 0.5, value + 0.5 * flux),
        }[condition]
        grid = dataclasses.replace(box, embedded=wall)
        x, y = np.asarray(grid.centers)
        exact, zero = (x**2 + y**2) / 4, jnp.zeros(grid.shape)
        rate = jax.jit(lambda u, g=grid: diffusion(u, 1.0, g) - 0.5 * u)
        matrix = np.array(jax.jacobian(rate)(zero)).reshape(zero.size, zero.size)
        right = np.where(grid.inside, 1 - exact / 2 - rate(zero), 0.0)
        u = np.linalg.solve(matrix, right.ravel()).reshape(grid.shape)
        V = np.asarray(grid.volumes)
        errors.append((V * np.abs(u - exact)).sum() / V.sum())
    assert errors[0] / errors[1] > 2.5
    assert errors[1] < 1e-3


@pytest.mark.slow
def test_conditions_may_differ_from_place_to_place_and_in_time():
    grid = grids()["tilted"]
    u, D, _ = fields(grid)
    upper = np.asarray(grid.centers)[1] > 0.5
    mixed = Robin(np.where(upper, 1.0, 0.0), np.where(upper, 0.0, 1.0), 0.3)
    found = diffusion(u, D, grid, embedded=mixed)
    for wall, rows in ((Dirichlet(0.3), np.s_[:, 5:]), (Neumann(0.3), np.s_[:, :2])):
        np.testing.assert_allclose(
            found[rows], diffusion(u, D, grid, embedded=wall)[rows], rtol=1e-9
        )
    moving = Dirichlet(lambda t: 0.1 * t)
    np.testing.assert_allclose(
        diffusion(u, D, grid, embedded=moving, t=3.0),
        diffusion(u, D, grid, embedded=Dirichlet(0.3)), rtol=1e-9,
    )  # fmt: skip
    with pytest.raises(InputError, match="embedded: its value is a function of time"):
        diffusion(u, D, grid, embedded=moving)


@pytest.mark.slow
def test_gradients_by_the_place_of_a_hole_and_a_film():
    def loss(parameters):
        at, film = parameters

        def phi(x, y):
            return 0.31 - jnp.hypot(x - at, y - 0.1)

        grid = Grid((-1.0,) * 2, (1.0,) * 2, (9, 9), (Neumann(),) * 2, domain=phi,
                    embedded=Robin(film, 0.5, 1.0))  # fmt: skip
        rate = diffusion(jnp.sin(3 * grid.centers[0]), 1.0, grid)
        return jnp.sum(grid.volumes * rate**2)

    at, step, value = jnp.asarray([0.213, 1.2]), 1e-6, jax.jit(loss)
    found = np.asarray(jax.jit(jax.grad(loss))(at))
    for i in range(2):
        way = jnp.zeros(2).at[i].set(step)
        differences = float(value(at + way) - value(at - way)) / (2 * step)
        assert found[i] == pytest.approx(differences, rel=1e-6)


def test_refusals():
    grid = grids()["tilted"]
    u, D, _ = fields(grid)
    with pytest.raises(InputError, match="grid has no domain"):
        convection(u[0], lambda u: u**2, Grid((0.0,), (1.0,), (7,)), embedded=Neumann())
    with pytest.raises(InputError, match="grid has no domain"):
        diffusion(u, D, Grid((0.0, 0.0), (1.0, 1.0), (6, 7)), embedded=Neumann())
    with pytest.raises(InputError, match="does not fit the cells"):
        diffusion(u, D, grid, embedded=Dirichlet(np.ones(5)))
