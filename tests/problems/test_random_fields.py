import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.problems.random_fields import (
    RandomWaves,
    gaussian_random_field,
    gaussian_waves,
    random_waves,
)

LOWER, UPPER, CELLS = (-1.0, 0.0), (1.0, 1.0), (32, 16)


def waves(seed: int = 0) -> RandomWaves:
    return random_waves(30, 3, LOWER, UPPER, CELLS, np.random.default_rng(seed))


def gaussian(seed: int = 0, length: float = 0.3) -> RandomWaves:
    return gaussian_random_field(length, LOWER, UPPER, CELLS, np.random.default_rng(seed))


FAMILIES = pytest.mark.parametrize("draw", [waves, gaussian])


def test_the_sum_is_the_formula():
    rng = np.random.default_rng(0)
    field = RandomWaves(
        rng.uniform(-2, 2, 5),
        rng.integers(-3, 4, (5, 2)),
        rng.uniform(0, 6, 5),
        LOWER,
        UPPER,
        offset=0.7,
        scale=1.3,
    )
    x, y = rng.uniform(-1, 1, 6), rng.uniform(0, 1, 4)
    total = 0.0
    for a, (kx, ky), phase in zip(field.amplitudes, field.wavenumbers, field.phases, strict=True):
        angle = kx * (x[:, None] + 1.0) / 2.0 + ky * y[None, :]
        total = total + a * np.sin(2 * np.pi * angle + phase)
    np.testing.assert_allclose(field(x, y), 1.3 * (total - 0.7), atol=1e-13)


def test_random_waves_are_drawn_from_the_stated_ranges():
    field = random_waves(4000, 3, LOWER, UPPER, CELLS, np.random.default_rng(0))
    assert set(np.unique(field.wavenumbers)) == {0, 1, 2, 3}
    np.testing.assert_allclose([field.amplitudes.min(), field.amplitudes.max()], [-2, 2], atol=0.01)
    np.testing.assert_allclose([field.phases.min(), field.phases.max()], [0, 2 * np.pi], atol=0.01)


@FAMILIES
def test_values_on_the_base_grid_span_zero_to_one(draw):
    values = draw().on_cells(CELLS)
    np.testing.assert_allclose([values.min(), values.max()], [0.0, 1.0], atol=1e-14)


def test_rescaling_again_on_another_grid_starts_from_the_same_function():
    finer = (4 * CELLS[0], 4 * CELLS[1])
    once, again = waves(), waves().rescaled(finer)
    values = again.on_cells(finer)
    np.testing.assert_allclose([values.min(), values.max()], [0.0, 1.0], atol=1e-14)
    assert abs(np.corrcoef(values.ravel(), once.on_cells(finer).ravel())[0, 1] - 1) < 1e-12


@FAMILIES
def test_fields_are_periodic(draw):
    x, y = np.linspace(-1, 1, 7), np.linspace(0, 1, 5)
    field = draw()
    np.testing.assert_allclose(field(x + 2.0, y), field(x, y), atol=1e-12)
    np.testing.assert_allclose(field(x, y - 1.0), field(x, y), atol=1e-12)


@FAMILIES
@pytest.mark.parametrize("refine", [2, 4])
def test_a_refined_grid_samples_the_same_function(draw, refine):
    field = draw()
    base, fine = field.on_cells(CELLS), field.on_cells(tuple(refine * n for n in CELLS))
    # Averaged to the base cells they agree to the order of the midpoint rule, and the ends are
    # passed by no more than the curvature allows in half a cell.
    averaged = fine.reshape(CELLS[0], refine, CELLS[1], refine).mean(axis=(1, 3))
    assert np.abs(averaged - base).max() < 0.02
    assert fine.min() > -0.05
    assert fine.max() < 1.05
    centres = [
        x0 + (np.arange(refine * n) + 0.5) * (x1 - x0) / (refine * n)
        for x0, x1, n in zip(LOWER, UPPER, CELLS, strict=True)
    ]
    np.testing.assert_array_equal(fine, field(*centres))


@FAMILIES
def test_fields_are_fixed_by_their_seed(draw):
    np.testing.assert_array_equal(draw(1).on_cells(CELLS), draw(1).on_cells(CELLS))
    assert np.abs(draw(1).on_cells(CELLS) - draw(2).on_cells(CELLS)).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("length", [0.1, 0.3, 0.6])
def test_gaussian_fields_have_the_stated_covariance(length):
    draws = 2000
    x, y = np.array([-1.0, -0.9, -0.7, 0.0, 0.9]), np.array([0.0, 0.1, 0.5, 0.95])
    values = np.stack(
        [
            gaussian_waves(length, LOWER, UPPER, np.random.default_rng(seed))(x, y).ravel()
            for seed in range(draws)
        ]
    )
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    separation = points[:, None] - points[None, :]
    images = np.stack(np.meshgrid(np.arange(-9, 10), np.arange(-9, 10)), axis=-1).reshape(
        -1, 1, 1, 2
    )
    distance2 = ((separation + images * np.array([2.0, 1.0])) ** 2).sum(axis=-1)
    theory = np.exp(-distance2 / (2 * length**2)).sum(axis=0)
    variance = theory[0, 0]
    # The standard error of a sample covariance is at most variance * sqrt(2 / draws).
    error = variance * np.sqrt(2.0 / draws)
    assert np.abs(np.cov(values.T) - theory).max() < 4.5 * error
    assert np.abs(values.mean(axis=0)).max() < 4.5 * np.sqrt(variance / draws)


def test_longer_correlation_gives_smoother_fields():
    def roughness(length):
        values = gaussian(0, length).on_cells(CELLS)
        return np.abs(np.diff(values, axis=0)).mean()

    assert roughness(0.1) > 1.5 * roughness(0.3) > roughness(0.9)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_any_number_of_dimensions(dimensions):
    box = (0.0,) * dimensions, (2.0,) * dimensions, (8,) * dimensions
    rng = np.random.default_rng(0)
    for field in (random_waves(10, 2, *box, rng), gaussian_random_field(0.5, *box, rng)):
        values = field.on_cells(box[2])
        assert values.shape == box[2]
        np.testing.assert_allclose([values.min(), values.max()], [0.0, 1.0], atol=1e-14)


def test_constant_fields_are_refused():
    with pytest.raises(InputError, match="constant"):
        random_waves(3, 0, LOWER, UPPER, CELLS, np.random.default_rng(0))
    with pytest.raises(InputError, match="constant"):
        gaussian(length=50.0)


@pytest.mark.parametrize("length", [0.0, -1.0, float("nan")])
def test_a_correlation_length_that_is_none_is_refused(length):
    with pytest.raises(InputError, match="correlation length must be above 0"):
        gaussian(length=length)
