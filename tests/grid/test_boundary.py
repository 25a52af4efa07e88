"""Ghost cells: exact on linear fields for every condition, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, Robin, ghosts, pad

GRID = Grid((0.0, -1.0), (1.0, 2.0), (5, 4))


def linear(x, y, t=0.0):
    return 2.0 + 3.0 * x - 1.5 * y + 0.5 * x * y + t * (1 - x)


def linear_on(axes, t):
    x, y = jnp.meshgrid(*axes, indexing="ij")
    return linear(x, y, t)


def condition(kind: str, axis: int, side: int, *, timed: bool) -> Boundary:
    """What `linear`, which is linear along each axis, satisfies on a side (-1 lower, 1 upper)."""
    at = (GRID.lower if side < 0 else GRID.upper)[axis]
    along = jnp.asarray(GRID.axis_centers(1 - axis))
    point = (lambda s: (s, along)) if axis == 0 else (lambda s: (along, s))

    def u(t):
        return linear(*point(at), t)

    def slope(t):
        return side * (linear(*point(1.0), t) - linear(*point(0.0), t))

    a, b = 1.0 + along**2, 0.3
    of_time = {
        "dirichlet": u,
        "neumann": slope,
        "robin": lambda t: a * u(t) + b * slope(t),
    }[kind]
    value = of_time if timed else of_time(0.0)
    match kind:
        case "dirichlet":
            return Dirichlet(value)
        case "neumann":
            return Neumann(value)
        case _:
            return Robin(a=a, b=b, value=value)


@pytest.mark.few(2)
@pytest.mark.parametrize(("width", "timed"), [(1, False), (3, True)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("lower", "upper"),
    [("dirichlet", "neumann"), ("neumann", "robin"), ("robin", "dirichlet"), ("robin", "robin")],
)
def test_ghosts_continue_a_linear_field(lower, upper, axis, width, timed):
    t = 0.7 if timed else 0.0
    sides = tuple(
        condition(kind, axis, side, timed=timed) for kind, side in ((lower, -1), (upper, 1))
    )
    boundary = (sides, Periodic()) if axis == 0 else (Periodic(), sides)
    h = GRID.spacing[axis]
    axes = [jnp.asarray(GRID.axis_centers(i)) for i in (0, 1)]
    u = linear_on(axes, t)
    beyond = h * jnp.arange(1, width + 1)
    x = axes[axis]
    axes[axis] = jnp.concatenate([x[0] - beyond[::-1], x, x[-1] + beyond])
    expected = linear_on(axes, t)
    found = pad(u, GRID, axis, width, boundary, t=t if timed else None)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_periodic_wraps():
    u = jnp.arange(20.0).reshape(5, 4)
    np.testing.assert_array_equal(pad(u, GRID, 0, 2), np.pad(u, ((2, 2), (0, 0)), mode="wrap"))
    np.testing.assert_array_equal(pad(u, GRID, 1, 4), np.pad(u, ((0, 0), (4, 4)), mode="wrap"))


def test_known_values():
    u = jnp.array([1.0, 2.0, 4.0])
    grid = Grid((0,), (3,), (3,), ((Dirichlet(5.0), Neumann(0.5)),))
    np.testing.assert_array_equal(pad(u, grid, 0, 2), [8.0, 9.0, 1.0, 2.0, 4.0, 4.5, 3.5])


def test_batch_and_value_per_sample():
    grid = Grid((0, 0), (1, 1), (3, 4), (Dirichlet(np.array([[1.0], [2.0]])), Periodic()))
    u = jnp.ones((2, 3, 4))
    lower, upper = ghosts(u, grid, 0)
    np.testing.assert_array_equal(lower, [[[1.0] * 4], [[3.0] * 4]])
    np.testing.assert_array_equal(upper, lower)


@pytest.mark.parametrize("value", [1.0, np.ones(4), np.float64(1), jnp.ones(4), lambda t: t])
@pytest.mark.parametrize("kind", [Dirichlet, Neumann, partial(Robin, np.ones(4), 1.0)])
def test_float32_is_kept(kind, value):
    t = jnp.asarray(0.3, jnp.float64)
    u = jnp.ones((5, 4), jnp.float32)
    assert pad(u, GRID, 0, boundary=(kind(value=value), Periodic()), t=t).dtype == jnp.float32


def test_differentiable_in_value_and_coefficients():
    def total(a, b, g):
        return pad(jnp.ones((5, 4)), GRID, 0, boundary=(Robin(a, b, g), Periodic())).sum()

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(1.0, 0.0, 0.5)
    assert all(np.isfinite(gradients))
    # 8 ghosts, each 2 g - U
    assert gradients[2] == pytest.approx(16.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u: pad(u[:, :3], GRID, 0), r"the grid's \(5, 4\), got shape \(5, 3\)"),
        (lambda u: pad(u[0], GRID, 0), r"got shape \(4,\)"),
        (lambda u: pad(u, GRID, 2), "axis: expected 0 to 1, got 2"),
        (lambda u: pad(u, GRID, -1), "axis: expected 0 to 1, got -1"),
        (lambda u: pad(u, GRID, 1, 5), r"width: expected 1 to 4 \(the cells of axis 1\), got 5"),
        (lambda u: pad(u, GRID, 1, 0), "width: expected 1 to 4"),
        (
            lambda u: pad(u, GRID, 1, boundary=(Periodic(), (Neumann(), Dirichlet(lambda t: t)))),
            "axis 1, upper side: its value is a function of time, pass t=",
        ),
        (
            lambda u: pad(u, GRID, 0, boundary=(Neumann(np.ones(5)), Periodic())),
            r"axis 0, lower side: value: shape \(5,\) does not fit the face's \(4,\)",
        ),
        (
            lambda u: pad(u, GRID, 0, boundary=(Robin(np.ones((2, 4)), 1.0), Periodic())),
            r"axis 0, lower side: a: shape \(2, 4\) does not fit",
        ),
        (lambda u: Robin(0.0, 0.0, 1.0), "a and b are both 0"),
        (lambda u: Robin(np.array([1.0, 0.0]), 0.0), "a and b are both 0"),
        (
            lambda u: pad(u, GRID, 0, boundary=((Neumann(), Robin(1.0, -0.1)), Periodic())),
            "axis 0, upper side: a d [+] 2 b is 0 at d = 0.2",
        ),
        (lambda u: pad(u, GRID, 0, boundary=(Boundary(), Periodic())), "no ghost value is known"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(jnp.ones((5, 4)))


def test_integers_are_refused():
    # As users run it, without the run-time type check of the tests.
    with pytest.raises(InputError, match="floating-point array, got int"):
        GRID.check_field(jnp.ones((5, 4), int), "u")
