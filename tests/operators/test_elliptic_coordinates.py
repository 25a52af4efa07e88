"""Elliptic operators and their inverses on stretched axes and in radial coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import linear_part, normal, positive

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin, geometric, tanh
from impindiff.grid.geometry import cells_vary_in_shape, relative_volumes, typical_spacing
from impindiff.implicit.linear import krylov_solve
from impindiff.operators import Elliptic, advection_diffusion, diffusion, multigrid_cycle, star_of

EDGES = np.asarray([0.0, 0.1, 0.25, 0.45, 0.8, 1.3])
GRIDS = {
    "stretched": lambda: Grid.from_edges((EDGES,), ((Dirichlet(), Robin(1.0, 0.2)),)),
    "periodic": lambda: Grid.from_edges((EDGES,), (Periodic(),)),
    "ball": lambda: Grid.from_edges((EDGES,), (Robin(1.0, 0.2),), "spherical"),
    "disc": lambda: Grid((0.0,), (1.0,), (6,), (Dirichlet(),), "cylindrical"),
    "tube": lambda: Grid.from_edges(
        (EDGES + 0.3, geometric(0.1, 1.0, 4)),
        ((Robin(1.0, 0.2), Neumann()), (Dirichlet(), Neumann())),
        "cylindrical",
    ),
    "cylinder": lambda: Grid.from_edges(
        (EDGES, np.linspace(0.0, 1.0, 5)), (Dirichlet(), Periodic()), "cylindrical"
    ),
    "space": lambda: Grid.from_edges(
        (EDGES, np.linspace(0.0, 1.0, 4), geometric(1.0, 2.0, 3)),
        (Neumann(), Periodic(), Dirichlet()),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_reaction_minus_diffusion_its_diagonal_and_transpose(name):
    g = GRIDS[name]()
    D, r, u = positive(1, g.shape), positive(2, g.shape), normal(3, g.shape)

    @jax.jit
    def matrices(u):
        A = Elliptic.of(D, r, g)
        expected = r * u - diffusion(u, D, g, averaging="harmonic")
        found = jax.jacobian(A)(u)
        return A(u), expected, A.main_diagonal(), found, jax.jacobian(A.transposed())(u), A

    found, expected, diagonal, matrix, transposed, A = matrices(u)
    scale = float(jnp.abs(matrix).max())
    np.testing.assert_allclose(found, expected, atol=1e-13 * scale)
    matrix, transposed = (x.reshape(g.size, g.size) for x in (matrix, transposed))
    np.testing.assert_allclose(diagonal.ravel(), jnp.diag(matrix), rtol=1e-13)
    np.testing.assert_allclose(transposed, matrix.T, atol=1e-13 * scale)
    np.testing.assert_allclose(A.transposed().main_diagonal().ravel(), jnp.diag(matrix), rtol=1e-12)
    whole = np.broadcast_to(g.volumes, g.shape).reshape(-1, 1) * np.asarray(matrix)
    np.testing.assert_allclose(whole, whole.T, atol=1e-13 * np.abs(whole).max())
    whole = jax.jacobian(A.per_cell())(u).reshape(g.size, g.size)
    np.testing.assert_allclose(whole, whole.T, atol=1e-13 * float(jnp.abs(whole).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["periodic", "ball", "tube", "space"])
def test_the_matrix_of_a_step_and_its_walls(name):
    g = GRIDS[name]()
    D, v = positive(1, g.shape), normal(2, (g.ndim, *g.shape))
    u = jnp.zeros(g.shape)
    volumes = relative_volumes(g, u.dtype)

    def step(drift):
        tendency = linear_part(lambda u: advection_diffusion(u, drift * v, D, g))
        return lambda u: u - 0.1 * tendency(u)

    A = star_of(step(1.0), u, g.periodic, typical_spacing(g), volumes)
    expected = jax.jacobian(step(1.0))(u).reshape(g.size, g.size)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(
        jax.jacobian(A)(u).reshape(g.size, g.size), expected, atol=1e-13 * scale
    )
    np.testing.assert_allclose(
        jax.jacobian(A.transposed())(u).reshape(g.size, g.size), expected.T, atol=1e-13 * scale
    )
    # without drift all that is not a wall's is reaction, 1, times volumes
    B = star_of(step(0.0), u, g.periodic, typical_spacing(g), volumes)
    np.testing.assert_allclose(B.reaction, np.broadcast_to(volumes, g.shape), atol=1e-12 * scale)


def solved(grid, D, reaction, max_steps=200):
    @jax.jit
    def solve(b):
        A = Elliptic.of(D, reaction, grid)
        x, steps, good = krylov_solve(A, b, ipd.BiCGStab(max_steps=max_steps), 1e-8,
                                      multigrid_cycle(A))  # fmt: skip
        return x, steps, good

    b = normal(0, grid.shape)
    _, steps, good = solve(b)
    return int(steps), bool(good)


LIKE_CELLS = {
    "disc": lambda n: Grid((0.0, 0.0), (1.0, 1.0), (n, n), (Dirichlet(), Neumann()), "cylindrical"),
    "stretched": lambda n: Grid.from_edges(
        (tanh(0.0, 1.0, n, 2.0), tanh(0.0, 1.0, n, 2.0)), ((Neumann(), Dirichlet()), Periodic())
    ),
    "well": lambda n: Grid.from_edges(
        (geometric(0.1, 100.0, n), np.linspace(0.0, 10.0, n // 2)),
        (Dirichlet(), Neumann()),
        "cylindrical",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKE_CELLS)
def test_iterations_hardly_grow_whatever_the_shape_of_cells(name):
    counts = []
    for n in (16, 48):
        grid = LIKE_CELLS[name](n)
        assert cells_vary_in_shape(grid) == (name != "disc")
        x = [
            (c - a) / (b - a) for c, a, b in zip(grid.centers, grid.lower, grid.upper, strict=True)
        ]
        steps, good = solved(grid, jnp.where(x[0] + 0.3 * x[1] > 0.5, 1e-3, 1.0), 1e-3)
        assert good
        counts.append(steps)
    assert counts[1] <= 10, counts


def matrix_of(function, shape):
    size = int(np.prod(shape))
    units = jnp.eye(size).reshape(size, *shape)
    return np.asarray(jax.jit(jax.vmap(function))(units)).reshape(size, size).T


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("stretched", "V"), ("well", "W")])
def test_cycles_by_lines_are_symmetric_and_with_drift_transposed(name, shape):
    grid = LIKE_CELLS[name](6)
    D = positive(1, grid.shape)
    A = Elliptic.of(D, 1.0, grid)
    assert A.lines
    whole = matrix_of(multigrid_cycle(A.per_cell(), shape=shape), grid.shape)
    np.testing.assert_allclose(whole, whole.T, atol=1e-12 * np.abs(whole).max())
    assert np.linalg.eigvalsh(whole).min() > 0
    error = np.eye(grid.size) - whole @ matrix_of(A.per_cell(), grid.shape)
    assert np.abs(np.linalg.eigvals(error)).max() < 0.5
    v = normal(2, (2, *grid.shape))
    tendency = linear_part(lambda u: advection_diffusion(u, v, D, grid))
    like = jnp.zeros(grid.shape)
    B = star_of(
        lambda u: u - 0.1 * tendency(u), like, grid.periodic, typical_spacing(grid),
        relative_volumes(grid, np.float64), lines=True,
    )  # fmt: skip
    cycle = multigrid_cycle(B, shape=shape)
    found = matrix_of(cycle, grid.shape)
    turned = matrix_of(lambda w: jax.linear_transpose(cycle, like)(w)[0], grid.shape)
    np.testing.assert_allclose(turned, found.T, atol=1e-12 * np.abs(found).max())


def test_one_dimension_between_walls_is_exact():
    g = GRIDS["ball"]()
    A = Elliptic.of(positive(0, g.shape), 1e-3, g)
    b = normal(1, g.shape)
    np.testing.assert_allclose(A(multigrid_cycle(A)(b)), b, rtol=1e-9)


class Decay(ipd.HybridModel):
    grid: Grid
    D: float

    def latent(self, t):
        return None

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.D, self.grid)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_fast_diagonalization_is_exact_for_constant_coefficients(name):
    model = Decay(GRIDS[name](), 0.4)
    u0 = normal(1, model.grid.shape)

    def final(u0, preconditioner):
        solver = ipd.NewtonKrylov(preconditioner=preconditioner, rtol=1e-10)
        stepper = ipd.CrankNicolson(solver=solver)
        result = ipd.rollout(model, u0, np.asarray([0.0, 0.1]), stepper=stepper, dt=0.05)
        return result.u[-1], result.stats

    plain, _ = jax.jit(lambda u: final(u, None))(u0)
    others = (ipd.Multigrid(), ipd.Jacobi()) if name == "tube" else ()
    for preconditioner in (ipd.FastDiagonalization(), *others):
        found, stats = jax.jit(lambda u, p=preconditioner: final(u, p))(u0)
        np.testing.assert_allclose(found, plain, atol=1e-8)
        if isinstance(preconditioner, ipd.FastDiagonalization):
            assert int(np.max(stats.linear_iterations)) <= 2
    if name == "tube":
        with pytest.raises(InputError, match="symmetric only after multiplication by cell volumes"):
            final(u0, ipd.Multigrid(symmetric=True))
