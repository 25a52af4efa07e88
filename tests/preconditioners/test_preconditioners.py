"""Preconditioners found from the model: few iterations, the same states and gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import impindiff as ipd
from helpers import relative_difference
from impindiff.steppers import stage_residual

PERIODIC, CLOSED, HELD = ipd.Periodic(), ipd.Neumann(), ipd.Dirichlet(0.3)
WALLS = ((HELD, CLOSED), CLOSED)


class Transport(ipd.HybridModel):
    """Nonlinear diffusion and advection of one component."""

    grid: ipd.Grid
    k: jax.Array
    speed: float = 0.0
    scheme: str = eqx.field(static=True, default="upwind")

    def tendency(self, t, u, latent):
        D = self.k * (1 + 0.2 * u**2)
        velocity = [self.speed] * self.grid.ndim
        carried = ipd.advection(u, velocity, self.grid, self.scheme)
        return ipd.diffusion(u, D, self.grid) + carried


def square(cells, boundary=WALLS):
    return ipd.Grid((0.0, 0.0), (1.0, 1.0), cells, boundary)


def bump(grid):
    x = grid.centers
    return jnp.exp(-sum((x_i - 0.4) ** 2 for x_i in x) / 0.05)


def run(model, u0, preconditioner, stepper: type = ipd.CrankNicolson, **adjoint):
    """Final state, Krylov and Newton iterations, gradient in k."""

    def loss(k):
        moved = eqx.tree_at(lambda m: m.k, model, k)
        result = ipd.rollout(
            moved,
            u0,
            [0.0, 0.05, 0.1],
            stepper=stepper(
                solver=ipd.NewtonKrylov(rtol=1e-11, preconditioner=preconditioner),
                adjoint=ipd.ImplicitAdjoint(rtol=1e-10, **adjoint),
            ),
            throw=False,
        )
        last = jax.tree.map(lambda x: x[-1], result.u)
        size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(last))
        return size, (last, result.stats.linear_iterations.sum(), result.stats.iterations.sum())

    (_, found), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(model.k)
    return *found, gradient


@pytest.fixture(scope="module")
def plain():
    """Walls, without a preconditioner."""
    model = Transport(square((21, 16)), jnp.asarray(2.0))
    return model, run(model, bump(model.grid), None)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("preconditioner", "at_most"),
    [
        (ipd.Multigrid(shape="W"), 0.25),
        (ipd.Multigrid(precision="float32"), 0.25),
        (ipd.FastDiagonalization(), 0.35),
        (ipd.Jacobi(), 1.0),
    ],
    ids=lambda x: type(x).__name__,
)
def test_fewer_iterations_and_the_same_result_and_gradient(plain, preconditioner, at_most):
    model, (u, many, newton, gradient) = plain
    found, few, newton_too, gradient_too = run(model, bump(model.grid), preconditioner)
    assert few <= at_most * many
    assert newton_too == newton
    assert relative_difference(found, u) < 1e-8
    np.testing.assert_allclose(gradient_too, gradient, rtol=1e-7)


class Line(ipd.HybridModel):
    grid: ipd.Grid
    k: jax.Array

    def tendency(self, t, u, latent):
        return ipd.convection(u, lambda v: 0.5 * v**2, self.grid, "central") + ipd.diffusion(
            u, self.k, self.grid
        )


@pytest.mark.slow
def test_one_krylov_iteration_a_solve_in_one_dimension_and_the_same_result_and_gradient():
    grid = ipd.Grid((0.0,), (1.0,), (50,), boundary=((HELD, CLOSED),))
    u0, k = jnp.sin(3 * grid.centers[0]), jnp.asarray(0.2)

    def rolled(k, preconditioner, **adjoint):
        stepper = ipd.CrankNicolson(
            solver=ipd.NewtonKrylov(rtol=1e-12, preconditioner=preconditioner),
            adjoint=ipd.ImplicitAdjoint(**adjoint),
        )
        times = [0.0, 0.05, 0.1]
        return ipd.rollout(Line(grid, k), u0, times, stepper=stepper, throw=False)

    def gradient(preconditioner, **adjoint):
        loss = jax.grad(lambda k: jnp.sum(rolled(k, preconditioner, **adjoint).u[-1] ** 2))
        return jax.jit(loss)(k)

    plain, exact = rolled(k, None), rolled(k, ipd.Multigrid())
    np.testing.assert_array_equal(exact.stats.linear_iterations, exact.stats.iterations)
    assert plain.stats.linear_iterations.sum() > 10 * exact.stats.linear_iterations.sum()
    assert relative_difference(exact.u, plain.u) < 1e-9
    one_iteration = gradient(ipd.Multigrid(), max_iterations=1)
    np.testing.assert_allclose(one_iteration, gradient(None), rtol=1e-6)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "boundary",
    [
        (PERIODIC, PERIODIC),
        (PERIODIC, CLOSED),
        (HELD, CLOSED),
        ((HELD, CLOSED), (ipd.Robin(1.0, 0.2), HELD)),
    ],
)
def test_fast_diagonalization_is_exact_for_constant_coefficients(boundary):
    grid = square((10, 7), boundary)

    class Heat(ipd.HybridModel):
        grid: ipd.Grid

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, (0.3, 1.7), self.grid) - 0.5 * u

    stage = stage_of(Heat(grid), bump(grid))
    v = jnp.asarray(np.random.default_rng(0).normal(size=grid.cells))

    @jax.jit
    def there_and_back(v):
        _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), v)
        inverse = ipd.FastDiagonalization()(v, stage)
        (transposed,) = jax.linear_transpose(inverse, v)(v)
        return inverse(jacobian(v)), transposed, inverse(v)

    again, transposed, once = there_and_back(v)
    np.testing.assert_allclose(again, v, atol=1e-11)
    np.testing.assert_allclose(transposed, once, atol=1e-12)


def upwind_form(model):
    return Transport(model.grid, model.k, model.speed, "upwind")


@pytest.mark.slow
def test_simplify_preconditions_a_limited_scheme_by_upwind():
    grid = square((16, 16))
    model = Transport(grid, jnp.asarray(0.5), 3.0, "van_leer")
    upwind = ipd.Multigrid(simplify=upwind_form)
    u, many, _, gradient = run(model, bump(grid), None)
    found, few, _, gradient_too = run(model, bump(grid), upwind)
    assert few < 0.5 * many
    assert relative_difference(found, u) < 1e-8
    np.testing.assert_allclose(gradient_too, gradient, rtol=1e-7)


class Reacting(ipd.HybridModel):
    """Two components that react with each other much faster than a step; one diffuses."""

    grid: ipd.Grid
    k: jax.Array
    rate: float = 1e4

    def tendency(self, t, u, latent):
        exchange = self.rate * (u["a"] - 2 * u["b"])
        return {"a": ipd.diffusion(u["a"], self.k, self.grid) - exchange, "b": exchange}


@pytest.mark.slow
def test_blocks_for_components_that_react_in_a_cell():
    grid = square((8, 8))
    model = Reacting(grid, jnp.asarray(1e-3))
    u0 = {"a": bump(grid), "b": 0 * bump(grid)}
    u, many, _, gradient = run(model, u0, ipd.Jacobi(), ipd.BackwardEuler)
    found, few, _, gradient_too = run(model, u0, ipd.Jacobi(blocks=True), ipd.BackwardEuler)
    assert few < many
    assert relative_difference(found["b"], u["b"]) < 1e-8
    np.testing.assert_allclose(gradient_too, gradient, rtol=1e-6)


class Driven(ipd.HybridModel):
    """A quasi-steady potential whose source is the density that it carries."""

    grid: ipd.Grid
    k: jax.Array

    def mass(self):
        return {"density": 1.0, "potential": 0.0}

    def tendency(self, t, u, latent):
        n, c = u["density"], u["potential"]
        return {
            "density": ipd.diffusion(n, self.k, self.grid),
            # of the other sign than the density's: its inverse too
            "potential": c - 10 * n - ipd.diffusion(c, 1.0, self.grid),
        }


@pytest.mark.slow
def test_systems_with_constraints_by_component_or_in_their_order():
    grid = square((8, 8), (PERIODIC, CLOSED))
    model = Driven(grid, jnp.asarray(2.0))
    u0 = {"density": bump(grid), "potential": 0 * bump(grid)}
    u, many, _, gradient = run(model, u0, ipd.Jacobi(), ipd.BackwardEuler, max_iterations=2000)
    for preconditioner, part in ((ipd.Multigrid(), 0.15), (ipd.Multigrid(coupling="lower"), 0.12)):
        found, few, _, gradient_too = run(model, u0, preconditioner, ipd.BackwardEuler)
        assert few < part * many
        assert relative_difference(found["potential"], u["potential"]) < 1e-7
        np.testing.assert_allclose(gradient_too, gradient, rtol=1e-6)


class Diffusing(ipd.HybridModel):
    """Two components: one diffuses, one relaxes to it."""

    grid: ipd.Grid
    D: jax.Array

    def tendency(self, t, u, latent):
        rate = ipd.diffusion(u["gas"], self.D, self.grid, averaging="harmonic")
        return {"gas": rate, "solid": u["gas"] - u["solid"]}


@pytest.mark.slow
def test_given_operators_and_components_left_alone():
    robin = ipd.Robin(1.0, 1.0)
    g = square((20, 12), ((ipd.Dirichlet(), CLOSED), (robin, CLOSED)))
    x, y = g.centers
    u0 = {"gas": jnp.asarray(np.sin(2 * x) * np.cos(3 * y)), "solid": jnp.zeros(g.shape)}
    front = x + 0.3 * np.sin(5 * y) - 0.5
    D = jnp.asarray(10.0 ** (-1 / (1 + np.exp(-front / 0.05))))

    def loss(factor, preconditioner):
        stepper = ipd.BackwardEuler(
            solver=ipd.NewtonKrylov(rtol=1e-10, preconditioner=preconditioner),
            adjoint=ipd.ImplicitAdjoint(rtol=1e-9, max_iterations=1000),
        )
        model = Diffusing(g, factor * D)
        result = ipd.rollout(model, u0, [0.0, 0.02, 0.04], stepper=stepper, throw=False)
        return jnp.sum(result.u["solid"][-1] ** 2), result.stats.linear_iterations.sum()

    given = ipd.Multigrid(
        lambda z, stage: {
            "gas": ipd.Elliptic.of(stage.weight * stage.model.D, 1.0, g),
            "solid": None,
        }
    )

    def solved(preconditioner):
        of = jax.value_and_grad(lambda factor: loss(factor, preconditioner), has_aux=True)
        return jax.jit(of)(jnp.asarray(1.0))

    (plain, many), plain_gradient = solved(None)
    (found, few), gradient = solved(given)
    assert few < 0.2 * many
    np.testing.assert_allclose(found, plain, rtol=1e-8)
    np.testing.assert_allclose(gradient, plain_gradient, rtol=1e-6)


@pytest.mark.slow
def test_conjugate_gradients_with_symmetric_cycles():
    grid = square((16, 16))

    class Spreading(ipd.HybridModel):
        grid: ipd.Grid

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, 2.0, self.grid)

    def solved(**solver):
        stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(rtol=1e-10, **solver))
        return ipd.rollout(Spreading(grid), bump(grid), [0.0, 0.1], stepper=stepper)

    cg = solved(
        linear_solver=lx.CG(rtol=1e-6, atol=1e-6), preconditioner=ipd.Multigrid(symmetric=True)
    )
    assert relative_difference(cg.u, solved().u) < 1e-8
    assert int(cg.stats.linear_iterations.sum()) <= 10


def stage_of(model, known=None):
    return ipd.StageEquation(model, jnp.asarray(0.0), jnp.asarray(0.1), None, known)


def test_what_does_not_fit_is_refused():
    upper = eqx.tree_at(lambda m: m.coupling, ipd.Multigrid(), "upper")
    with pytest.raises(ipd.InputError, match="coupling is 'upper'; expected 'diagonal' or 'lower'"):
        upper(jnp.ones((4, 4)), stage_of(ipd.VectorField(lambda t, u, args: -u)))
    whole = ipd.Multigrid(precision="float32")
    half = eqx.tree_at(lambda m: m.precision, whole, "float16")
    with pytest.raises(ipd.InputError, match="precision is 'float16'; expected 'float32' or None"):
        half(jnp.ones((4, 4)), stage_of(ipd.VectorField(lambda t, u, args: -u)))
    wrong = ipd.Multigrid(lambda z, stage: ipd.Elliptic.of(1.0, 1.0, square((4, 4))))
    stage = stage_of(ipd.VectorField(lambda t, u, args: -u))
    with pytest.raises(ipd.InputError, match=r"shape \(4, 4\) is given .*\(2, 4, 4\)"):
        wrong(jnp.ones((2, 4, 4)), stage)
    for preconditioner in (ipd.Multigrid(), ipd.Jacobi(), ipd.FastDiagonalization()):
        with pytest.raises(ipd.InputError, match="VectorField has no grid"):
            preconditioner(jnp.ones((4, 4)), stage)
