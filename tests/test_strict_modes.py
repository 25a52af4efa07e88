"""JAX's strict modes, which users turn on to find their own mistakes, find none of the library's.

Promotion of dtypes and ranks is refused when a program is traced, so that most programs here are
only traced, forward and reverse. A NaN is seen when they run.
"""

import contextlib
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import impindiff as ipd
from impindiff.training import FitOptions, TrajectoryLoss, adam, fit

# with 64-bit numbers switched on or off, and the state's precision
PRECISIONS = {
    "float64": (True, np.dtype("float64")),
    "float32": (True, np.dtype("float32")),
    "float32 alone": (False, np.dtype("float32")),
}
WALLS = {
    "periodic": lambda face: ipd.Periodic(),
    "numbers": lambda face: (ipd.Dirichlet(1), ipd.Robin(1, 2, 0.3)),
    "of time": lambda face: (ipd.Dirichlet(lambda t: jnp.sin(t)), ipd.Neumann(0.5)),
    "arrays": lambda face: (ipd.Dirichlet(np.ones(face)), ipd.Neumann(jnp.ones(face))),
}
CELLS = {1: (5,), 2: (5, 4), 3: (4, 3, 2)}
SCHEMES = ("upwind", "central", "van_leer")


@contextlib.contextmanager
def strict(precision="float64", *, nans=False):
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(PRECISIONS[precision][0]))
        stack.enter_context(jax.numpy_dtype_promotion("strict"))
        stack.enter_context(jax.numpy_rank_promotion("raise"))
        # the checks take as long again as the tracing
        stack.enter_context(jax.enable_checks(nans))
        stack.enter_context(jax.debug_nans(nans))
        yield PRECISIONS[precision][1]


def grid_of(ndim, walls="numbers"):
    cells = CELLS[ndim]
    faces = [tuple(n for j, n in enumerate(cells) if j != i) for i in range(ndim)]
    boundary = [WALLS[walls](face) for face in faces]
    return ipd.Grid((0,) * ndim, (1,) * ndim, cells, boundary=boundary)


def normal(grid, dtype, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=grid.cells), dtype)


def every_operator(u, D, v, grid):
    """The sum of what all operators make of a field, with numbers and with fields for D and v."""
    t = 0.3
    parts = [ipd.divergence(jnp.stack([u] * grid.ndim), grid, t=t)]
    parts += list(ipd.gradient(u, grid, t=t))
    for number, rate, averaging in ((1, (0.5,) * grid.ndim, "arithmetic"), (D, v, "harmonic")):
        parts.append(ipd.diffusion(u, number, grid, averaging=averaging, t=t))
        for scheme in SCHEMES:
            parts.append(ipd.advection(u, rate, grid, scheme, t=t))
            parts.append(ipd.advection_diffusion(u, rate, number, grid, scheme, t=t))
    for scheme in ("rusanov", "central", "van_leer"):
        parts.append(ipd.convection(u, lambda u: 0.5 * u**2, grid, scheme, t=t))
    matrix = ipd.Elliptic.of(
        D, jnp.ones((), u.dtype), grid, boundary=[ipd.Dirichlet() for _ in grid.cells]
    )
    parts += [matrix(u), ipd.multigrid_cycle(matrix)(u)]
    return sum(jnp.sum(part**2) for part in parts)


def in_turn(*cases):
    """Each case in one of the precisions, so that no precision is seen with one case only."""
    return [(*case, precision) for case, precision in zip(cases, itertools.cycle(PRECISIONS))]


@pytest.mark.few(1)
@pytest.mark.parametrize(("ndim", "walls", "precision"), in_turn(*itertools.product(CELLS, WALLS)))
def test_operators(ndim, walls, precision):
    with strict(precision) as dtype:
        grid = grid_of(ndim, walls)
        u, D = normal(grid, dtype), 1 + normal(grid, dtype, 1) ** 2
        v = jnp.stack([normal(grid, dtype, i) for i in range(ndim)])
        of_all = jax.grad(lambda u, D, v: every_operator(u, D, v, grid), (0, 1, 2))
        assert {x.dtype for x in jax.eval_shape(of_all, u, D, v)} == {dtype}


@pytest.mark.slow
@pytest.mark.parametrize(("field", "walls"), [("flat", "periodic"), ("zero", "numbers")])
def test_operators_make_no_nan(field, walls):
    with strict(nans=True) as dtype:
        grid = grid_of(1, walls)
        u = jnp.full(grid.cells, 1.0 if field == "flat" else 0.0, dtype)
        # closed faces: 0/0 in a harmonic mean
        D = jnp.zeros(grid.cells).at[2:].set(1.0)
        of_all = jax.jit(jax.grad(lambda u, D, v: every_operator(u, D, v, grid), (0, 1, 2)))
        for x in of_all(u, D, jnp.zeros((1, *grid.cells))):
            assert jnp.all(jnp.isfinite(x))


class Reacting(ipd.HybridModel):
    """Advection, diffusion and a reaction."""

    grid: ipd.Grid
    D: jax.Array

    def latent(self, t):
        return jnp.cos(t).astype(self.D.dtype) * self.D

    def tendency(self, t, u, latent):
        moved = ipd.advection_diffusion(u, (0.3,) * self.grid.ndim, latent, self.grid, t=t)
        return moved - 0.1 * u**2


class Coupled(Reacting):
    """Two components, of which one is quasi-steady."""

    def tendency(self, t, u, latent):
        a, b = (Reacting.tendency(self, t, u[name], latent) for name in "ab")
        return {"a": a - u["b"], "b": b + u["a"]}

    def mass(self):
        return {"a": 1, "b": 0}


def newton(**options):
    return ipd.BackwardEuler(solver=ipd.NewtonKrylov(**options))


# short loops: what is unrolled is traced at length
FEW = ipd.NewtonKrylov(max_iterations=2, linear_solver=ipd.BiCGStab(max_steps=3))
# each names what it has that the others have not
WAYS = {
    "BDF2": {"stepper": ipd.BDF2(), "checkpointing": ipd.Segments()},
    "RK4": {"stepper": ipd.RK4(), "checkpointing": ipd.ForBudget("1MB")},
    "extrapolated": {"stepper": ipd.SDIRK2(first_guess="extrapolated")},
    "KenCarp4": {"stepper": ipd.KenCarp4(), "checkpointing": ipd.Binomial(2)},
    "adaptive": {"stepper": ipd.KenCarp3(), "dt": ipd.AdaptiveStep(max_steps=40)},
    "halving": {"halving": True},
    "GMRES": {"stepper": newton(linear_solver=lx.GMRES(1e-6, 1e-6), line_search=False)},
    "float32 Krylov": {"stepper": newton(krylov_precision="float32")},
    "Multigrid": {"stepper": newton(preconditioner=ipd.Multigrid())},
    "Multigrid W": {
        "stepper": newton(
            linear_solver=lx.CG(1e-6, 1e-6),
            preconditioner=ipd.Multigrid(cycles=2, shape="W", symmetric=True, precision="float32"),
        )
    },
    "FastDiagonalization": {"stepper": newton(preconditioner=ipd.FastDiagonalization())},
    "Jacobi": {"stepper": newton(preconditioner=ipd.Jacobi())},
    "Jacobi blocks": {"stepper": newton(preconditioner=ipd.Jacobi(blocks=True))},
    "Picard": {"stepper": ipd.BackwardEuler(solver=ipd.Picard())},
    "Anderson": {"stepper": ipd.BackwardEuler(solver=ipd.Anderson())},
    "JacobianFree": {"stepper": ipd.BackwardEuler(adjoint=ipd.JacobianFree(terms=2))},
    "Unrolled": {"stepper": ipd.BackwardEuler(adjoint=ipd.Unrolled(), solver=FEW)},
}
# model, dimensions, walls, and the ways that it is solved
SYSTEMS = {
    "1-D": (Reacting, 1, "periodic", WAYS),
    "2-D": (Reacting, 2, "numbers", ("Multigrid", "FastDiagonalization")),
    "3-D": (Reacting, 3, "of time", ("BDF2",)),
    "coupled": (Coupled, 2, "periodic", ("adaptive", "Jacobi blocks")),
}
ROLLOUTS = in_turn(*((system, way) for system, (*_, ways) in SYSTEMS.items() for way in ways))


def gradient_of_rollout(system, way, dtype, amplitude=0.5):
    """(the gradient in D and u0 of a sum over a rollout, D, u0)."""
    kind, ndim, walls, _ = SYSTEMS[system]
    grid = grid_of(ndim, walls)
    u0 = amplitude * normal(grid, dtype)
    u0 = {"a": u0, "b": u0} if kind is Coupled else u0
    options = {"dt": 0.01, "throw": False} | WAYS[way]

    def total(D, u0):
        result = ipd.rollout(kind(grid, D), u0, np.array([0.0, 0.02, 0.05]), **options)
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(result.u))

    return jax.grad(total, (0, 1)), jnp.asarray(0.05, dtype), u0


@pytest.mark.slow
@pytest.mark.parametrize(("system", "way", "precision"), ROLLOUTS)
def test_rollouts(system, way, precision):
    with strict(precision) as dtype:
        function, D, u0 = gradient_of_rollout(system, way, dtype)
        found = jax.eval_shape(function, D, u0)
    assert {x.dtype for x in jax.tree.leaves(found)} == {dtype}


@pytest.mark.slow
@pytest.mark.parametrize(("way", "amplitude"), [("Multigrid", 0.5), ("adaptive", 0.0)])
def test_rollouts_make_no_nan(way, amplitude):
    with strict(nans=True) as dtype:
        function, D, u0 = gradient_of_rollout("1-D", way, dtype, amplitude)
        for x in function(D, u0):
            assert jnp.all(jnp.isfinite(x))


def two_variables(x, z):
    return 1 + x + 0 * z


KEY = jax.random.key(0)
RANGE = {"lower": (0.0, 0.0), "upper": (1.0, 1.0), "variables": 2, "key": KEY}
CLOSURES = {
    "positive": lambda: ipd.PositiveClosure(two_variables, **RANGE),
    "monotone": lambda: ipd.MonotoneClosure(two_variables, **RANGE),
    "monotone alone": lambda: ipd.MonotoneClosure(lambda x: 1 + x, lower=0.0, upper=1.0),
    "percolating": lambda: ipd.PercolatingClosure(0.1, 0.6, largest_threshold=0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"), [*in_turn(*((name,) for name in CLOSURES)), ("positive", "float32")]
)
def test_closures_answer_in_the_precision_of_their_variables(name, precision):
    with strict(precision, nans=True) as dtype:
        law = CLOSURES[name]()
        x = jnp.linspace(-0.2, 1.2, 12, dtype=dtype).reshape(3, 4)
        variables = (x, jnp.ones_like(x)) if name in ("positive", "monotone") else (x,)
        assert law(*variables).dtype == dtype
        slopes = eqx.filter_grad(lambda law: jnp.sum(law(*variables) ** 2))(law)
        assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    ("kind", "conditioning", "precision"),
    in_turn(
        *itertools.product(
            ("chebyshev", "fourier"), (None, "last_layer", "modulation", "hypernetwork")
        )
    ),
)
def test_fields(kind, conditioning, precision):
    with strict(precision) as dtype:
        time = None if conditioning is None else ipd.TimeBasis(0, 1, 3, kind)
        field = ipd.BoundedField(
            ipd.ConditionalField(
                2,
                (0, 0),
                (1, 1),
                periodic=(True, False),
                width=4,
                depth=2,
                conditioning=conditioning,
                time=time,
                code_size=0 if conditioning is None else 2,
                key=KEY,
            ),
            0,
            1,
        )
        rate = ipd.Parameter(1, lower=0, upper=3)
        grid, code = grid_of(2), None if conditioning is None else jnp.ones(2, dtype)

        def total(parts):
            field, rate = parts
            return rate() * jnp.sum(field(grid, jnp.asarray(0.3, dtype), code) ** 2)

        eqx.filter_eval_shape(eqx.filter_grad(total), (field, rate))


@pytest.mark.slow
def test_a_fit(tmp_path):
    class Decay(ipd.HybridModel):
        grid: ipd.Grid
        rate: ipd.Parameter
        law: ipd.PositiveClosure

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, self.rate(), self.grid) - u * self.law(u)

    with strict(nans=True):
        law = ipd.PositiveClosure(lambda u: 1 + u**2, lower=0.0, upper=1.0, key=KEY)
        model = Decay(grid_of(1, "periodic"), ipd.Parameter(0.1, lower=0), law)
        u0 = jnp.stack([normal(model.grid, jnp.float64)] * 2)
        loss = TrajectoryLoss(
            u0=u0,
            times=(0.0, 0.1),
            values=0.9 * u0[None],
            observe=lambda u: u[1:],
            stepper=ipd.CrankNicolson(),
            dt=0.05,
        )
        fitted = fit(model, loss, adam("cosine", 0.1, 2), tmp_path, FitOptions(steps=2))
    assert np.isfinite(fitted.final_loss)
