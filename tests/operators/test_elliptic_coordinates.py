"""Elliptic operators and their inverses on stretched axes and in radial coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import linear_part, normal

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin, geometric, tanh
from impindiff.grid.geometry import relative_volumes, typical_spacing
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


def positive(seed, shape):
    return jnp.exp(normal(seed, shape))


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
    coarse = A.coarsened(range(g.ndim))
    np.testing.assert_allclose(coarse.reaction.sum(), A.reaction.sum(), rtol=1e-13)


@pytest.mark.parametrize("name", GRIDS)
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


def solved(grid, D, reaction, velocity=None, max_steps=200):
    volumes = relative_volumes(grid, np.float64)

    @jax.jit
    def solve(b):
        def apply(u):
            if velocity is None:
                return reaction * u - diffusion(u, D, grid, averaging="harmonic")
            return reaction * u - advection_diffusion(u, velocity, D, grid, averaging="harmonic")

        A = star_of(linear_part(apply), b, grid.periodic, typical_spacing(grid), volumes)
        x, steps, good = krylov_solve(A, b, ipd.BiCGStab(max_steps=max_steps), 1e-8,
                                      multigrid_cycle(A))  # fmt: skip
        return x, steps, good

    b = normal(0, grid.shape)
    _, steps, good = solve(b)
    return int(steps), bool(good)


def test_multigrid_in_two_dimensions_and_its_transpose():
    walls = ((Neumann(), Dirichlet()), (Dirichlet(), Neumann()))
    counts = []
    for n in (16, 48):
        disc = Grid((0.0, 0.0), (1.0, 1.0), (n, n), (Dirichlet(), walls[1]), "cylindrical")
        x = disc.centers
        D = jnp.asarray(np.exp(3 * np.sin(4 * x[0] + 3 * x[1])))
        smooth = Grid.from_edges((tanh(0.0, 1.0, n, 1.0), tanh(0.0, 1.0, n, 1.0)), walls)
        counts.append([solved(disc, D, 1e-3), solved(smooth, D, 1e-3)])
    steps = np.asarray(counts)[..., 0]
    assert np.asarray(counts)[..., 1].all()
    assert steps.max() <= 14, steps
    b = normal(1, smooth.shape)
    cycle = multigrid_cycle(Elliptic.of(D, 1.0, smooth))
    w = normal(2, smooth.shape)
    (turned,) = jax.linear_transpose(cycle, b)(w)
    np.testing.assert_allclose(jnp.vdot(cycle(b), w), jnp.vdot(b, turned), rtol=1e-9)


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
    for preconditioner in (ipd.FastDiagonalization(), ipd.Multigrid(), ipd.Jacobi()):
        found, stats = jax.jit(lambda u, p=preconditioner: final(u, p))(u0)
        np.testing.assert_allclose(found, plain, atol=1e-8)
        if isinstance(preconditioner, ipd.FastDiagonalization):
            assert int(np.max(stats.linear_iterations)) <= 2
    with pytest.raises(InputError, match="symmetric only after multiplication by cell volumes"):
        final(u0, ipd.Multigrid(symmetric=True))
