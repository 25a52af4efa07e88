"""Fractions of cells and faces inside a domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Domain, Grid, Neumann, Periodic

WALLS = (Neumann(), Neumann())


def disc(x, y):
    return np.hypot(x - 0.013, y - 0.021) - 0.7


def box(n, domain, **more):
    return Grid((-1.0, -1.0), (1.0, 1.0), (n, n), WALLS, domain=domain, **more)


def cut(grid) -> Domain:
    assert grid.domain is not None
    return grid.domain


def test_volumes_of_curved_domains_are_second_order():
    off = [abs(box(n, disc).volumes.sum() - np.pi * 0.49) for n in (16, 32)]
    assert off[1] < 2e-3
    assert off[0] / off[1] > 3.3
    ball = Grid((-1.0,) * 3, (1.0,) * 3, (16,) * 3, (*WALLS, Neumann()),
                domain=lambda x, y, z: np.sqrt(x**2 + y**2 + z**2) - 0.7)  # fmt: skip
    assert ball.volumes.sum() == pytest.approx(4 / 3 * np.pi * 0.343, rel=1e-2)


@pytest.mark.parametrize("normal", [(1.0,), (0.8, 0.6), (-0.5, 0.7), (0.5, 0.6, 0.62), (1, -1, 2)])
def test_a_plane_cuts_exact_parts_that_close_each_cell(normal, monkeypatch):
    monkeypatch.setattr("impindiff.grid.domain.SMALLEST", 0.0)
    ndim = len(normal)

    def plane(*x):
        return sum(n * at for n, at in zip(normal, x, strict=True)) - 0.31

    grid = Grid((0.0,) * ndim, (1.0,) * ndim, (4,) * ndim, (Neumann(),) * ndim, domain=plane)
    places = (np.indices((64,) * ndim) + 0.5) / 64
    assert grid.volumes.sum() == pytest.approx(np.mean(plane(*places) < 0), abs=8e-3)
    # the areas of a cell's faces sum to the plane's in it, which is along the normal
    closing = []
    for axis, faces in enumerate(cut(grid).faces):
        closing.append(np.take(faces, range(4), axis) - np.take(faces, range(1, 5), axis))
    unit = np.asarray(normal) / np.linalg.norm(normal)
    along = sum(n * c for n, c in zip(unit, closing, strict=True))
    for n, c in zip(unit, closing, strict=True):
        np.testing.assert_allclose(c, along * n, atol=1e-12)


def test_a_mask_has_whole_cells_and_its_faces_are_open_between_two():
    inside = np.ones((4, 3), bool)
    inside[1, 2] = False
    grid = Grid((0.0, 0.0), (4.0, 3.0), (4, 3), (Periodic(), Neumann()), domain=inside)
    np.testing.assert_array_equal(grid.volumes, inside.astype(float))
    np.testing.assert_array_equal(grid.inside, inside)
    assert cut(grid).staircase
    across, along = cut(grid).faces
    assert across.shape == (5, 3)
    assert along.shape == (4, 4)
    np.testing.assert_array_equal(across[:, 2], [1, 0, 0, 1, 1])
    np.testing.assert_array_equal(along[1], [1, 1, 0, 0])


def test_an_image_is_read_upright_and_dark_is_outside(tmp_path):
    pixels = np.full((6, 4), 255, np.uint8)
    pixels[:3, :2] = 0  # above, on the left
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    grid = Grid((0.0, 0.0), (4.0, 6.0), (4, 6), WALLS, domain=tmp_path / "mask.png")
    assert not grid.inside[:2, 3:].any()
    assert grid.inside.sum() == 18
    with pytest.raises(InputError, match="cannot be read as an image"):
        Grid((0.0, 0.0), (4.0, 6.0), (4, 6), WALLS, domain=tmp_path / "none.png")


@pytest.mark.slow
def test_fractions_are_differentiable_in_the_place_of_a_hole():
    def moment(at):
        def phi(x, y):
            return jnp.maximum(jnp.hypot(x, y) - 0.9, 0.3 - jnp.hypot(x - at, y - 0.1))

        grid = box(12, phi)
        weights = jnp.arange(12.0)[:, None]
        return jnp.sum(weights**2 * grid.volumes) + jnp.sum(cut(grid).faces[1] ** 2)

    found, step = float(jax.jit(jax.grad(moment))(0.21)), 1e-6
    differences = float(moment(0.21 + step) - moment(0.21 - step)) / (2 * step)
    assert found == pytest.approx(differences, 1e-6)


def test_tiny_cells_are_closed():
    grid = Grid((0.0,), (1.0,), (4,), (Neumann(),), domain=lambda x: x - 0.500001)
    np.testing.assert_allclose(cut(grid).volumes, [1, 1, 0, 0])
    np.testing.assert_allclose(cut(grid).faces[0], [1, 1, 0, 0, 0])


def test_the_closest_points_of_the_boundary():
    grid = box(32, disc)
    points = grid.embedded_points
    near = np.abs(cut(grid).distance) < 2 * grid.spacing[0]
    np.testing.assert_allclose(disc(*points)[near], 0, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": np.ones((3, 3), bool)}, r"shape \(3, 3\), expected the cells \(4, 4\)"),
        ({"domain": np.ones((4, 4))}, "array of booleans"),
        ({"domain": np.zeros((4, 4), bool)}, "no cell inside; True is inside"),
        ({"domain": lambda x, y: x * 0 + 1}, "no cell inside; a signed distance is negative"),
        ({"domain": lambda x, y: 1.0}, "one signed distance for each point"),
        ({"domain": lambda x, y: np.nan * x}, "NaN or infinite"),
        ({"domain": disc, "embedded": Periodic()}, "embedded must be Dirichlet, Neumann or Robin"),
        ({"embedded": Dirichlet(1.0)}, "give domain="),
    ],
)
def test_refusals(change, message):
    with pytest.raises(InputError, match=message):
        Grid((-1.0, -1.0), (1.0, 1.0), (4, 4), WALLS, **change)


def test_a_grid_with_a_domain_has_no_single_cell_volume():
    with pytest.raises(InputError, match="part of the box"):
        _ = box(4, disc).cell_volume
    assert not box(4, disc).is_box
    assert Grid((0.0,), (1.0,), (4,)).is_box
