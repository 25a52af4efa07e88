"""Radial coordinates and stretched axes: geometry, the axis r = 0, and refusals."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.grid import (
    Axis,
    Dirichlet,
    Grid,
    Neumann,
    Periodic,
    Robin,
    geometric,
    ghosts,
    tanh,
)


def test_volumes_are_those_of_shells():
    ball = Grid((0.0,), (2.0,), (5,), (Neumann(),), "spherical")
    np.testing.assert_allclose(ball.volumes.sum(), 4 / 3 * np.pi * 8, rtol=1e-14)
    tube = Grid.from_edges(
        (geometric(0.5, 2.0, 6), np.linspace(0.0, 3.0, 5)), (Neumann(), Neumann()), "cylindrical"
    )
    assert tube.volumes.shape == tube.shape == (6, 4)
    assert (tube.axis_names, ball.axis_names) == (("r", "z"), ("r",))
    np.testing.assert_allclose(tube.volumes.sum(), np.pi * (4 - 0.25) * 3, rtol=1e-14)
    box = Grid((0.0, 1.0), (1.0, 3.0), (4, 5))
    np.testing.assert_allclose(np.broadcast_to(box.volumes, box.shape), box.cell_volume)
    # a thin shell far out: no digit is lost
    shell = Grid((1e6,), (1e6 + 1e-3,), (2,), (Neumann(),), "spherical")
    np.testing.assert_allclose(shell.volumes, 4 * np.pi * 1e12 * 5e-4, rtol=1e-6)


def test_edges_centres_and_helpers():
    log = geometric(0.1, 100.0, 30)
    np.testing.assert_allclose(np.diff(np.log(log)), np.log(1000) / 30, rtol=1e-10)
    growing = geometric(0.0, 3.0, 6, growth=1.3)
    np.testing.assert_allclose(np.diff(growing)[1:] / np.diff(growing)[:-1], 1.3, rtol=1e-12)
    np.testing.assert_allclose(geometric(0.0, 3.0, 6, growth=1.0), np.linspace(0.0, 3.0, 7))
    for side in ("lower", "upper", "both"):
        edges = tanh(-1.0, 2.0, 20, 2.0, side)
        assert (edges[0], edges[-1]) == (-1.0, 2.0)
        widths = np.diff(edges)
        assert (widths > 0).all()
        narrow = {"lower": [0], "upper": [19], "both": [0, 19]}[side]
        np.testing.assert_allclose(widths[narrow], widths.min(), rtol=1e-9)
    grid = Grid.from_edges((log, growing))
    assert grid.cells == (30, 6)
    np.testing.assert_array_equal(grid.axis_edges(0), log)
    np.testing.assert_allclose(grid.axis_centers(1), 0.5 * (growing[1:] + growing[:-1]))
    np.testing.assert_allclose(grid.centers[0][:, 3], grid.axis_centers(0))


def test_equal_widths_are_a_uniform_axis():
    grid = Grid.from_edges((np.linspace(0.1, 0.7, 24), [0.0, 1.0, 4.0]))
    assert grid.edges == (None, (0.0, 1.0, 4.0))
    plain = Grid.from_edges((np.linspace(0.0, 1.0, 9),))
    assert plain.is_box
    assert plain.spacing == Grid((0.0,), (1.0,), (8,)).spacing
    again = dataclasses.replace(grid, boundary=(Neumann(), Neumann()))
    assert again.edges == grid.edges
    with pytest.raises(InputError, match=r"axis 1 is stretched.*axis_edges\(1\)"):
        _ = grid.spacing
    with pytest.raises(InputError, match=r"axis 1 stretched.*grid\.volumes"):
        _ = grid.cell_volume
    with pytest.raises(InputError, match=r"cells differ in volume \(spherical\)"):
        _ = Grid((1.0,), (2.0,), (4,), (Neumann(),), "spherical").cell_volume


def test_the_axis_is_no_boundary():
    outer = Dirichlet(1.0)
    for given in (outer, (Axis(), outer)):
        disc = Grid((0.0,), (1.0,), (4,), (given,), "cylindrical")
        assert disc.boundary == ((Axis(), outer),)
        assert disc.boundary_or_own((given,)) == disc.boundary
    annulus = Grid((0.5,), (1.0,), (4,), (outer,), "cylindrical")
    assert annulus.boundary == ((outer, outer),)
    u = jnp.arange(4.0)
    below, above = ghosts(u, disc, 0, width=2)
    np.testing.assert_array_equal(below, [1.0, 0.0])
    np.testing.assert_allclose(above, [2 - 3.0, 2 - 2.0])


def test_ghosts_are_as_far_beyond_a_wall_as_their_mirror_images():
    grid = Grid.from_edges(([0.0, 1.0, 3.0, 4.0],), ((Neumann(-1.0), Robin(1.0, 1.0, 9.0)),))
    x = jnp.asarray(grid.axis_centers(0))  # u = x: du/dn = -1 below; u + du/dn = 5 above
    below, _ = ghosts(x, grid, 0, width=2)
    np.testing.assert_allclose(below, [-2.0, -0.5])
    _, above = ghosts(x, dataclasses.replace(grid, boundary=(Robin(1.0, 1.0, 5.0),)), 0, width=3)
    np.testing.assert_allclose(above, [4.5, 6.0, 7.5])


REFUSED = {
    "other words": (((0,), (1,), (4,), (Neumann(),), "polar"), "'cartesian', 'cylindrical' or"),
    "too many axes": (((0,) * 2, (1,) * 2, (4,) * 2, (Neumann(),) * 2, "spherical"), r"axes \(r\)"),
    "an angle": (((0,) * 3, (1,) * 3, (4,) * 3, None, "cylindrical"), "varies with an angle"),
    "a negative radius": (((-1,), (1,), (4,), (Neumann(),), "cylindrical"), "r >= 0, got -1"),
    "no boundary": (((0,), (1,), (4,), None, "cylindrical"), "need boundary=, since r is not"),
    "a periodic radius": (((1,), (2,), (4,), (Periodic(),), "spherical"), "cannot be Periodic"),
    "a periodic disc": (((0,), (2,), (4,), (Periodic(),), "spherical"), "r = 0 is no boundary"),
    "a wall at the axis": (
        ((0,), (1,), (4,), ((Dirichlet(1.0), Neumann()),), "cylindrical"),
        "r = 0 is no boundary and takes no condition, got Dirichlet",
    ),
    "an axis elsewhere": (((0,), (1,), (4,), ((Axis(), Neumann()),)), "plane of symmetry"),
    "an axis of an annulus": (
        ((1,), (2,), (4,), ((Axis(), Neumann()),), "cylindrical"), "starts at 0",
    ),
    "an outer axis": (((0,), (1,), (4,), (Axis(),), "cylindrical"), "Axis is r = 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    arguments, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        Grid(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (([0.0, 1.0],), "at least 2 cells"),
        (([0.0, 1.0, 1.0, 2.0],), "must increase, but 1 is followed by 1"),
        (([0.0, 1.0, np.nan],), "must increase"),
        pytest.param(([[0.0, 1.0, 2.0]],), r"shape \(1, 3\)", marks=pytest.mark.wrong_types),
        pytest.param((["a", "b", "c"],), "must be numbers", marks=pytest.mark.wrong_types),
        (([1.0, 1.0 + 1e-16 * 3, 2.0],), "same number"),
        (([0.0, 1e-120, 1.0],), "another unit of length"),
    ],
)
def test_refused_edges(edges, message):
    with pytest.raises(InputError, match=message):
        Grid.from_edges(edges)


def test_refused_spacings():
    with pytest.raises(InputError, match="need lower > 0, got 0"):
        geometric(0.0, 1.0, 4)
    with pytest.raises(InputError, match="growth must be"):
        geometric(0.0, 1.0, 4, growth=-1.0)
    with pytest.raises(InputError, match="side must be"):
        tanh(0.0, 1.0, 4, side="left")
    with pytest.raises(InputError, match="strength must be"):
        tanh(0.0, 1.0, 4, strength=0.0)
    with pytest.raises(InputError, match="lower < upper"):
        tanh(1.0, 1.0, 4)
