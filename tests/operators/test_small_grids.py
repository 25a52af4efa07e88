"""Advection and diffusion on the smallest grids, where neighbours coincide, against plain loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd

SIDES = {
    "periodic": (ipd.Periodic(), ipd.Periodic()),
    "Dirichlet, Neumann": (ipd.Dirichlet(1.3), ipd.Neumann(-0.4)),
    "Robin, Dirichlet": (ipd.Robin(1.0, 0.7, 0.2), ipd.Dirichlet(-1.0)),
    "Neumann, Robin": (ipd.Neumann(0.3), ipd.Robin(0.0, 2.0, 0.5)),
}
CASES = [
    *(((n,), (sides,)) for n in (2, 3) for sides in SIDES),
    *(((2, 3), pair) for pair in itertools.islice(itertools.product(SIDES, repeat=2), 0, None, 3)),
    ((2, 2, 2), ("periodic", "Dirichlet, Neumann", "periodic")),
]


def ghost(u, side, h):
    """The value beyond a wall of a u + b du/dn = g, half a cell from it on either side."""
    a, b = side.coefficients
    return ((2 * b - a * h) * u + 2 * h * side.value) / (2 * b + a * h)


def along_first_axis(u, D, v, sides, h, scheme):
    """The inflow along the first axis, one face after the other."""
    n, periodic = len(u), isinstance(sides[0], ipd.Periodic)
    flux = []
    for face in range(n + 1):
        below, above = face - 1, face % n
        if 0 < face < n or periodic:
            a, b, D_face, v_face = u[below], u[above], D[below] + D[above], v[below] + v[above]
            outer_a, outer_b, D_face, v_face = a, b, D_face / 2, v_face / 2
        else:
            near, far = (0, 1) if face == 0 else (-1, -2)
            beyond = ghost(u[near], sides[0 if face == 0 else 1], h)
            a, b = (beyond, u[near]) if face == 0 else (u[near], beyond)
            D_face = np.maximum(1.5 * D[near] - 0.5 * D[far], 0.5 * D[near])
            v_face = 1.5 * v[near] - 0.5 * v[far]
            # what comes in has the wall's own value
            outer_a = (a + b) / 2 if face == 0 else a
            outer_b = b if face == 0 else (a + b) / 2
        upwind = np.where(v_face > 0, v_face * outer_a, v_face * outer_b)
        carried = upwind if scheme == "upwind" else v_face * (a + b) / 2
        flux.append(carried - D_face * (b - a) / h)
    return np.stack([(flux[i] - flux[i + 1]) / h for i in range(n)])


def by_loops(u, D, v, grid, scheme):
    total = np.zeros_like(u)
    for axis, h in enumerate(grid.spacing):
        turned = [np.moveaxis(x, axis, 0) for x in (u, D, v[axis])]
        found = along_first_axis(*turned, sides=grid.boundary[axis], h=h, scheme=scheme)
        total += np.moveaxis(found, 0, axis)
    return total


@pytest.mark.few(1)
@pytest.mark.parametrize("scheme", ["upwind", "central"])
@pytest.mark.parametrize(("cells", "names"), CASES)
def test_small_grids(cells, names, scheme):
    rng = np.random.default_rng(0)
    upper = tuple(1 + 0.3 * i for i in range(len(cells)))
    grid = ipd.Grid((0,) * len(cells), upper, cells, boundary=[SIDES[name] for name in names])
    u, D = rng.normal(size=cells), rng.uniform(0.1, 2, size=cells)
    v = rng.normal(size=(len(cells), *cells))

    def inflow(u):
        return ipd.advection_diffusion(u, v, D, grid, scheme)

    np.testing.assert_allclose(inflow(jnp.asarray(u)), by_loops(u, D, v, grid, scheme), rtol=1e-11)
    units = np.eye(u.size).reshape(-1, *cells)
    origin = by_loops(0 * u, D, v, grid, scheme)
    columns = np.stack([by_loops(e, D, v, grid, scheme) - origin for e in units])
    _, product = jax.linearize(inflow, jnp.asarray(u))
    np.testing.assert_allclose(jax.vmap(product)(jnp.asarray(units)), columns, atol=1e-11)
    pulled = jax.vmap(lambda e: jax.vjp(inflow, jnp.asarray(u))[1](e)[0])(jnp.asarray(units))
    matrix = columns.reshape(u.size, u.size)
    np.testing.assert_allclose(pulled.reshape(u.size, u.size), matrix.T, atol=1e-11)
