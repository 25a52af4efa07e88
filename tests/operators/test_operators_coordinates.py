"""Operators in radial coordinates and on stretched axes: matrices, conservation, orders, signs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.grid import Axis, Dirichlet, Grid, Neumann, Periodic, Robin, geometric, tanh
from impindiff.operators import (
    advection,
    advection_diffusion,
    convection,
    diffusion,
    divergence,
    gradient,
)

SIDES = {
    "dirichlet": Dirichlet(0.7),
    "neumann": Neumann(0.3),
    "robin": Robin(2.0, 0.3, 0.1),
    "mixed": (Robin(1.0, 0.4, 0.2), Dirichlet(-0.5)),
    "periodic": Periodic(),
}
STRETCHED = np.asarray([0.0, 0.1, 0.25, 0.45, 0.8, 1.3])
FROM_AXIS, ANNULUS = STRETCHED, STRETCHED + 0.2


def line(kind: str, sides: str) -> Grid:
    boundary = (SIDES[sides],)
    if kind == "stretched":
        return Grid.from_edges((STRETCHED,), boundary)
    if kind == "uniform disc":
        outer = boundary[0][1] if isinstance(boundary[0], tuple) else boundary[0]
        return Grid((0.0,), (1.3,), (5,), (outer,), "cylindrical")
    edges = FROM_AXIS if "from 0" in kind else ANNULUS
    if edges is FROM_AXIS and isinstance(boundary[0], tuple):
        boundary = ((Axis(), boundary[0][1]),)
    return Grid.from_edges((edges,), boundary, kind.split()[0])


KINDS = (
    "stretched",
    "uniform disc",
    "cylindrical from 0",
    "cylindrical",
    "spherical from 0",
    "spherical",
)
LINES = [(k, s) for k in KINDS for s in SIDES if s != "periodic" or k == "stretched"]


def outside(grid: Grid, side: int, u: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Ghost cell and distance to its mirror image, by the definition of the condition."""
    h = np.diff(grid.axis_edges(0))[-side]
    wall: Any = grid.boundary[0][side]
    a, b = wall.coefficients
    near = u[-side]
    return ((2 * b - a * h) * near + 2 * h * wall.value) / (2 * b + a * h), h


def by_hand(grid: Grid, u: np.ndarray, v: np.ndarray, D: np.ndarray, scheme: str) -> np.ndarray:
    """-div(v u - D grad u) cell by cell: v on faces, D in cells (arithmetic mean)."""
    power = {"cartesian": 0, "cylindrical": 1, "spherical": 2}[grid.coordinates]
    edges, n = grid.axis_edges(0), u.size
    h = np.diff(edges)
    periodic = isinstance(grid.boundary[0][0], Periodic)
    fluxes = []
    for face in range(n + 1):
        i, j = face - 1, face
        weight, wall = 0.5, None
        if 0 < face < n or periodic:
            i, j = i % n, j % n
            a, b, distance = u[i], u[j], 0.5 * (h[i] + h[j])
            weight = h[j] / (h[i] + h[j])
            diffusivity = weight * D[i] + (1 - weight) * D[j]
        else:
            wall = 1 if face == n else 0
            ghost, distance = outside(grid, wall, u, n)
            a, b = (u[-1], ghost) if wall else (ghost, u[0])
            near, far = (D[-1], D[-2]) if wall else (D[0], D[1])
            slope = (near - far) / (0.5 * (h[-1] + h[-2]) if wall else 0.5 * (h[0] + h[1]))
            diffusivity = max(near + slope * h[-wall] / 2, near / 2)
        mean = weight * a + (1 - weight) * b
        if scheme == "central":
            carried = mean
        else:
            below, above = (mean if wall == 0 else a), (mean if wall == 1 else b)
            carried = below if v[face] > 0 else above
        fluxes.append((v[face] * carried - diffusivity * (b - a) / distance) * edges[face] ** power)
    volume = np.diff(edges ** (power + 1)) / (power + 1)
    return -np.diff(fluxes) / volume


@pytest.mark.few(1)
@pytest.mark.parametrize(("kind", "sides"), LINES)
@pytest.mark.parametrize("scheme", ["upwind", "central"])
def test_two_point_operators_are_those_by_hand_and_so_are_both_derivatives(kind, sides, scheme):
    grid = line(kind, sides)
    rng = np.random.default_rng(1)
    u, D = rng.normal(size=5), np.exp(rng.normal(size=5))
    v = rng.normal(size=6)
    if sides == "periodic":
        v[-1] = v[0]
    expected = by_hand(grid, u, v, D, scheme)

    def operator(u):
        return advection_diffusion(u, (jnp.asarray(v),), jnp.asarray(D), grid, scheme)

    np.testing.assert_allclose(operator(jnp.asarray(u)), expected, atol=1e-11)
    apart = advection(jnp.asarray(u), (jnp.asarray(v),), grid, scheme) + diffusion(
        jnp.asarray(u), jnp.asarray(D), grid
    )
    np.testing.assert_allclose(apart, expected, atol=1e-11)
    _check_matrix(operator, jnp.asarray(u))


def _check_matrix(operator, u):
    """Derivative and transpose, column by column, against values alone."""
    at_zero = operator(jnp.zeros_like(u))
    units = jnp.eye(u.size).reshape(u.size, *u.shape)
    matrix = jnp.stack([operator(unit) - at_zero for unit in units], -1).reshape(u.size, u.size)
    _, product = jax.linearize(operator, u)
    size = float(jnp.abs(matrix).max())
    columns = jax.vmap(product)(units).reshape(u.size, -1).T
    np.testing.assert_allclose(columns, matrix, atol=1e-12 * size)
    transposed = jax.linear_transpose(product, u)
    rows = jax.vmap(lambda w: transposed(w)[0])(units).reshape(u.size, -1)
    np.testing.assert_allclose(rows, matrix, atol=1e-12 * size)


PLANES = {
    "cylinder": lambda: Grid.from_edges(
        (STRETCHED, np.asarray([0.0, 0.2, 0.5, 1.1])),
        (Robin(1.0, 0.2, 0.3), (Dirichlet(1.0), Neumann(0.1))),
        "cylindrical",
    ),
    "uniform cylinder": lambda: Grid(
        (0.3, 0.0), (1.0, 2.0), (5, 3), ((Dirichlet(1.0), Neumann(0.5)), Periodic()), "cylindrical"
    ),
    "one axis stretched": lambda: Grid.from_edges(
        (np.linspace(0.0, 1.0, 6), geometric(1.0, 4.0, 3)), (Periodic(), Robin(1.0, 2.0, 0.5))
    ),
    "both periodic": lambda: Grid.from_edges(
        (STRETCHED, np.asarray([0.0, 0.2, 0.5, 1.1])), (Periodic(), Periodic())
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANES)
def test_matrices_in_two_dimensions(name):
    grid = PLANES[name]()
    rng = np.random.default_rng(2)
    u = jnp.asarray(rng.normal(size=grid.shape))
    v, D = jnp.asarray(rng.normal(size=(2, *grid.shape))), jnp.exp(rng.normal(size=grid.shape))
    for operator in (
        lambda u: advection_diffusion(u, v, D, grid),
        lambda u: advection_diffusion(u, (0.3, -1.2), 0.1, grid, "central"),
        lambda u: diffusion(u, D, grid, averaging="harmonic"),
    ):
        _check_matrix(operator, u)
    # batches and a batch of velocities
    batch = jnp.asarray(rng.normal(size=(3, *grid.shape)))
    many = advection_diffusion(batch, jnp.stack([v, 2 * v, -v], 1), D, grid)
    one = advection_diffusion(batch[1], 2 * v, D, grid)
    np.testing.assert_allclose(many[1], one, atol=1e-11)


def closed(grid: Grid) -> Grid:
    """The grid with closed walls."""
    first = (Axis(), Neumann()) if grid.starts_at_axis else Neumann()
    return Grid.from_edges(
        [grid.axis_edges(i) for i in range(grid.ndim)],
        (first, Neumann())[: grid.ndim],
        grid.coordinates,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("scheme", ["upwind", "central", "van_leer"])
def test_total_is_conserved_to_round_off(name, scheme):
    grid = closed(PLANES[name]())
    rng = np.random.default_rng(3)
    u, D = jnp.asarray(rng.normal(size=grid.shape)), jnp.exp(rng.normal(size=grid.shape))
    nr, nz = grid.shape
    v = (rng.normal(size=(nr + 1, nz)), rng.normal(size=(nr, nz + 1)))
    v[0][[0, -1]] = 0.0
    v[1][:, [0, -1]] = 0.0
    rate = advection_diffusion(u, tuple(map(jnp.asarray, v)), D, grid, scheme)
    moved = np.sum(grid.volumes * np.asarray(rate))
    assert abs(moved) <= 1e-13 * np.sum(grid.volumes * np.abs(np.asarray(rate)))


@pytest.mark.parametrize("coordinates", ["cartesian", "cylindrical", "spherical"])
@pytest.mark.parametrize("scheme", ["rusanov", "central", "van_leer"])
def test_convection_changes_the_total_by_what_passes_the_walls(coordinates, scheme):
    grid = Grid.from_edges((ANNULUS,), ((Neumann(), Neumann()),), coordinates)
    u = jnp.asarray(np.random.default_rng(3).uniform(1.0, 2.0, size=5))
    rate = convection(u, lambda u: 0.5 * u**2, grid, scheme)
    power = {"cartesian": 0, "cylindrical": 1, "spherical": 2}[coordinates]
    around = {"cartesian": 1.0, "cylindrical": 2 * np.pi, "spherical": 4 * np.pi}[coordinates]
    area = around * ANNULUS[[0, -1]] ** power
    passed = 0.5 * (area[0] * u[0] ** 2 - area[1] * u[-1] ** 2)
    np.testing.assert_allclose(np.sum(grid.volumes * rate), passed, rtol=1e-12)


def test_divergence_theorem_and_gradient_of_linear_fields():
    for coordinates, power in (("cartesian", 0), ("cylindrical", 1), ("spherical", 2)):
        edges = ANNULUS
        grid = Grid.from_edges((edges,), ((Dirichlet(2.0), Dirichlet(-1.0)),), coordinates)
        around = grid.volumes.sum() / np.diff(edges[[0, -1]] ** (power + 1)) * (power + 1)
        v = jnp.asarray(np.random.default_rng(4).normal(size=(1, 5)))
        out = around * (-1.0 * edges[-1] ** power - 2.0 * edges[0] ** power)
        np.testing.assert_allclose(np.sum(grid.volumes * divergence(v, grid)), out, rtol=1e-12)
        x = jnp.asarray(grid.axis_centers(0))
        walls = ((Dirichlet(edges[0]), Dirichlet(edges[-1])),)
        np.testing.assert_allclose(gradient(x, grid, boundary=walls)[0], 1.0, rtol=1e-12)


def smooth(n: int, coordinates: str, from_axis: bool) -> Grid:
    low = 0.0 if from_axis else 0.3
    boundary = (Dirichlet(np.cos(2.0)),)
    if not from_axis:
        boundary = ((Dirichlet(np.cos(2 * low**2)), Dirichlet(np.cos(2.0))),)
    return Grid.from_edges((tanh(low, 1.0, n, 1.2),), boundary, coordinates)


@pytest.mark.few(3)
@pytest.mark.parametrize("coordinates", ["cartesian", "cylindrical", "spherical"])
@pytest.mark.parametrize("from_axis", [True, False])
def test_operators_are_second_order_inside(coordinates, from_axis):
    if coordinates == "cartesian" and from_axis:
        pytest.skip("no axis")
    power = {"cartesian": 0, "cylindrical": 1, "spherical": 2}[coordinates]
    errors = []
    for n in (20, 40, 80, 160):
        grid = smooth(n, coordinates, from_axis)
        x, V = grid.axis_centers(0), grid.volumes
        u = jnp.asarray(np.cos(2 * x**2))
        slope = -4 * x * np.sin(2 * x**2)
        curve = -4 * np.sin(2 * x**2) - 16 * x**2 * np.cos(2 * x**2)
        D, dD = 1 + x**2, 2 * x
        laplacian = D * (curve + power * slope / x) + dD * slope
        v = x * np.cos(x)  # v u diverges by u (v' + power v / x) + v u'
        dv = np.cos(x) - x * np.sin(x)
        carried = np.asarray(u) * (dv + power * v / x) + v * slope
        found = {
            "diffusion": diffusion(u, jnp.asarray(D), grid) - laplacian,
            "central": advection(u, (jnp.asarray(v),), grid, "central") + carried,
            "van_leer": advection(u, (jnp.asarray(v),), grid, "van_leer") + carried,
            "gradient": gradient(u, grid)[0] - slope,
            "divergence": divergence(jnp.asarray(v)[None], grid, boundary=_free(grid))
            - (dv + power * v / x),
        }
        inside = (x > 0.35) & (x < 0.9)
        errors.append(
            [np.sum((V * np.abs(np.asarray(e)))[inside]) / V[inside].sum() for e in found.values()]
        )
    orders = -np.diff(np.log2(np.asarray(errors)), axis=0)
    assert (orders[-1] > 1.8).all(), dict(zip(found, orders.T, strict=True))


def _free(grid: Grid):
    return (Neumann(),) if grid.starts_at_axis else ((Neumann(), Neumann()),)


@pytest.mark.parametrize("scheme", ["upwind", "van_leer"])
@pytest.mark.parametrize("kind", ["stretched", "cylindrical from 0", "spherical"])
def test_no_value_leaves_the_range_by_an_explicit_step(kind, scheme):
    # cells of widths 1, 4, 1, 4 ... : the plain limiter overshoots there
    edges = np.concatenate([[0.0], np.cumsum(np.tile([0.02, 0.08], 10))])
    edges = edges + (0.3 if kind == "spherical" else 0.0)
    coordinates = "cartesian" if kind == "stretched" else kind.split()[0]
    first = (Axis(), Neumann()) if "from 0" in kind else Neumann()
    grid = Grid.from_edges((edges,), (first,), coordinates)
    power = {"cartesian": 0, "cylindrical": 1, "spherical": 2}[coordinates]
    area = np.maximum(edges, 1e-3) ** power
    v = 0.5 / area  # free of divergence, but for the first cell of one from 0
    if power and "from 0" in kind:
        v[0] = 0.0
    u = jnp.asarray((grid.axis_centers(0) < 0.6).astype(float))
    volume = np.diff(edges ** (power + 1)) / (power + 1)
    dt = 0.3 * float((volume / (0.5 + 0 * area[1:])).min())
    step = jax.jit(lambda u: u + dt * advection(u, (jnp.asarray(v),), grid, scheme))
    for _ in range(200):
        u = step(u)
        assert float(u.min()) >= -1e-14
        assert "from 0" in kind or float(u.max()) <= 1 + 1e-12


def test_cells_too_different_for_single_precision_are_refused():
    """Products with relative volumes of 1e-21 would underflow, and a step would solve nothing."""
    radii = geometric(1.0, 1e7, 60)
    grid = Grid.from_edges((radii,), (Dirichlet(0.0),), coordinates="spherical")
    ones = jnp.ones(60)
    assert np.isfinite(diffusion(ones, 1.0, grid)).all()
    with pytest.raises(InputError, match="more than float32 can balance"):
        diffusion(ones.astype("float32"), 1.0, grid)
