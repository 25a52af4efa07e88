"""The problems on a box in three dimensions: settings, true fields, model and loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from impindiff.errors import InputError
from impindiff.experiment import prepare
from impindiff.problems import get_problem
from impindiff.problems.box import GridSettings
from impindiff.problems.moving_waves import MovingWaves
from impindiff.problems.random_fields import RandomWaves
from impindiff.settings import load_configuration
from impindiff.settings.configuration import dump_yaml

CELLS = (8, 6, 4)
SMALL = [
    "grid.cells=[8, 6, 4]",
    "truth.training_samples=1",
    "truth.test_samples=1",
    "truth.dt=0.01",
    "observations.times=[0.05, 0.1]",
    "observations.sensors=100",
    "forecast.until=0.1",
    "forecast.every=0.05",
    "field.width=8",
    "stepper.dt=0.025",
]
STEADY = get_problem("advection_diffusion_steady")
LATENT = {
    "advection_diffusion_steady": (["velocity_x", "velocity_y", "velocity_z"], CELLS),
    "advection_diffusion_dynamic": (["velocity_x", "velocity_y", "velocity_z"], (3, *CELLS)),
    "burgers": (["diffusivity"], CELLS),
}


def configured(*overrides: str, problem=STEADY):
    return load_configuration(problem.settings, [], overrides)


def test_three_cell_counts_are_enough_to_ask_for_three_dimensions(tmp_path):
    grid = configured("grid.cells=[8, 6, 4]").grid
    assert (grid.lower, grid.upper) == ((-1.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert grid.boundary == ("periodic",) * 3
    assert grid == GridSettings(cells=CELLS)
    written = tmp_path / "config.yaml"
    written.write_text(dump_yaml(configured("grid.cells=[8, 6, 4]")))
    assert load_configuration(STEADY.settings, [written], []).grid == grid
    assert configured().grid.axes == ("x", "y")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["grid.cells=[8]"], "grid.cells: must have at least 2 entries, not 1"),
        (["grid.cells=[8, 8, 8, 8]"], "grid.cells: must have at most 3 entries, not 4"),
        (["grid.lower=[0, 0, 0]"], "lower has 3 entries for 2 cell counts, [128, 64]"),
        (
            ["grid.cells=[8, 6, 4]", "grid.upper=[2, 2]"],
            "upper has 2 entries for 3 cell counts, [8, 6, 4]; give one along each axis",
        ),
        (
            ["grid.cells=[8, 6, 4]", "grid.boundary=[periodic, zero_gradient]"],
            "boundary has 2 entries for 3 cell counts",
        ),
        (["grid.cells=[8, 6, 3]"], "grid.cells.2: must be greater than or equal to 4"),
    ],
)
def test_lengths_that_do_not_fit_are_one_line(overrides, message):
    with pytest.raises(InputError) as refused:
        configured(*overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def waves(dimensions: int = 3, number: int = 12) -> RandomWaves:
    rng = np.random.default_rng(0)
    return RandomWaves(
        amplitudes=rng.uniform(-2, 2, number),
        wavenumbers=rng.integers(-3, 4, (number, dimensions)),
        phases=rng.uniform(0, 2 * np.pi, number),
        lower=(-1.0, 0.0, 0.5)[:dimensions],
        upper=(1.0, 1.0, 2.0)[:dimensions],
        offset=0.3,
        scale=2.0,
    )


def summed(of: RandomWaves, turns) -> np.ndarray:
    """The sum of sines, written out."""
    points = np.stack(np.meshgrid(*of.centers(CELLS), indexing="ij"), axis=-1)
    scaled = (points - np.asarray(of.lower)) / (np.asarray(of.upper) - np.asarray(of.lower))
    angles = 2 * np.pi * (scaled @ of.wavenumbers.T + turns) + of.phases
    return np.sin(angles) @ of.amplitudes


def test_waves_in_space_are_the_sum_of_their_sines():
    of = waves()
    np.testing.assert_allclose(of.on_cells(CELLS), 2.0 * (summed(of, 0.0) - 0.3), atol=1e-12)


def test_moving_waves_in_space_are_the_sum_of_their_sines_over_their_range():
    of, rates = waves(), np.random.default_rng(1).uniform(-1, 1, 12)
    moving = MovingWaves.on_grid(of, rates, CELLS, CELLS)
    values = summed(of, rates * 0.7)
    expected = (values - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(moving(jnp.asarray(0.7)), expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", LATENT)
def test_the_loss_is_small_at_the_truth_and_not_elsewhere(name):
    problem = get_problem(name)
    experiment = prepare(problem, configured(*SMALL, problem=problem))
    names, shape = LATENT[name]
    (field,) = experiment.truth.values()
    assert field.shape == (2, 3, *CELLS)
    assert list(experiment.dataset_coordinates()) == ["x", "y", "z"]
    fresh = experiment.model(jax.random.key(0))
    found = experiment.latent_fields(fresh, experiment.data.dataset["time"].to_numpy())
    for fields in (found, experiment.true_latent(found)):
        assert {key: of.shape for key, of in fields.items()} == dict.fromkeys(names, shape)
    loss = experiment.loss()
    assert loss.values.shape == (2 * 1 * 100,)
    at_truth = loss(problem.true_model(experiment.settings), loss.probe())[0]
    elsewhere = loss(fresh, loss.probe())[0]
    assert at_truth < 0.1 * elsewhere


@pytest.mark.slow
def test_a_refined_reference_is_averaged_over_all_axes():
    overrides = [*SMALL, "grid.cells=[8, 10, 12]", "observations.sensors=null"]
    averaged = STEADY.reference(configured(*overrides, "truth.refine=2"))["phi"].to_numpy()
    plain = STEADY.reference(configured(*overrides))["phi"].to_numpy()
    assert averaged.shape == (2, 3, 8, 10, 12)
    # an average over eight cells is the function at their middle but for its curvature
    assert np.abs(averaged[0, 0] - plain[0, 0]).max() < 0.1
    assert averaged[0, 0].std() > 0.1


def test_a_file_of_ones_own_with_three_axes_sets_the_grid(tmp_path):
    rng = np.random.default_rng(0)
    places = {name: np.linspace(1, 2, n) for name, n in zip("xyz", CELLS, strict=True)}
    field = (("sample", "time", "x", "y", "z"), rng.uniform(size=(2, 2, *CELLS)))
    path = tmp_path / "own.nc"
    xr.Dataset({"phi": field}, {"time": [0.0, 0.05], **places}).to_netcdf(path, engine="h5netcdf")
    own = ["data.test=[1]", "observations.times=[0.05]"]
    settings = prepare(STEADY, configured(f"data.path={path}", *own)).settings
    assert settings.grid.cells == CELLS
    assert settings.grid.boundary == ("periodic",) * 3
    with pytest.raises(InputError, match=r"grid\.cells: is \[9, 9, 9\], and the data in .* have"):
        prepare(STEADY, configured(f"data.path={path}", *own, "grid.cells=[9, 9, 9]"))
    walls = "grid.boundary=[zero_gradient, periodic]"
    with pytest.raises(InputError, match=r"grid\.boundary: has 2 entries, .* have 3 axes"):
        prepare(STEADY, configured(f"data.path={path}", *own, walls))
