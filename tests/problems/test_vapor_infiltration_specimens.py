"""What each specimen has of its own, and what the plant's instruments read of known states."""

import numpy as np
import pytest
import xarray as xr

from impindiff.errors import InputError
from impindiff.problems.vapor_infiltration.settings import (
    VaporInfiltrationClosureSettings,
    VaporInfiltrationThermalSettings,
)
from impindiff.problems.vapor_infiltration.specimens import (
    CT,
    MASS,
    THERMOCOUPLES,
    measurements,
    observation_times,
    specimen_conditions,
    states_at,
    weighing_times,
)
from impindiff.settings.configuration import load_configuration

CELLS, EPS0, T0 = (8, 4), 0.6, 1273.0
SMALL = [
    "grid.cells=[8,4]",
    "time.end=1.0",
    "specimens.thickness=[1.0,2.0]",
    "specimens.test_thickness=[0.5]",
    "observations.ct_block=2",
    "observations.ct_times=[0.5,1.0]",
    "observations.mass_times=4",
    "observations.mass_until=0.8",
]
HEATED = [
    *SMALL,
    "specimens.heater=[1423,1523]",
    "specimens.test_heater=[1473]",
    "observations.thermocouples=[[0.25,0.5],[0.8,0.3]]",
]


def isothermal(*more: str):
    return load_configuration(VaporInfiltrationClosureSettings, [], [*SMALL, *more])


def heated(*more: str):
    return load_configuration(VaporInfiltrationThermalSettings, [], [*HEATED, *more])


def known_states(settings) -> xr.Dataset:
    """Fields that are linear in x and y, of two samples, at the times when something is measured.

    eps = 0.6 - 0.1 (1 + sample) t (x + 2 y), theta = 1 + 0.1 t (1 - x).
    """
    times = np.array([0.0, *observation_times(settings)])
    x, y = ((np.arange(n) + 0.5) / n for n in CELLS)
    t = times[:, None, None]
    loss = 0.1 * t * (x[:, None] + 2 * y)
    theta = np.broadcast_to(1 + 0.1 * t * (1 - x[:, None]), loss.shape)
    dims = ("sample", "time", "x", "y")
    return xr.Dataset(
        {
            "porosity": (dims, np.stack([EPS0 - loss, EPS0 - 2 * loss])),
            "temperature": (dims, np.stack([theta, theta])),
        },
        {"time": times, "x": x, "y": y},
    )


def read(settings) -> dict[str, np.ndarray]:
    """What the instruments read of both samples, by name, in their own units."""
    data = known_states(settings)
    plant = measurements(settings, data)
    observed = states_at(data, range(data.sizes["time"]))
    return plant.split(np.asarray(plant(observed)), samples=2)


def test_phi2_goes_with_the_square_of_the_thickness():
    found = specimen_conditions(isothermal("physics.phi2=0.5"))
    assert set(found) == {"phi2"}
    assert found["phi2"] == pytest.approx([0.5, 2.0, 0.125])


def test_every_heated_specimen_has_its_own_heater_or_all_have_the_same():
    assert specimen_conditions(heated())["heater"] == pytest.approx(
        np.array([1423, 1523, 1473]) / T0
    )
    same = heated("specimens.heater=null", "specimens.test_heater=null")
    assert specimen_conditions(same)["heater"] == pytest.approx(np.full(3, 1473 / T0))


def test_weighings_are_evenly_spaced_after_the_start():
    assert weighing_times(isothermal()) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_times_of_several_instruments_are_merged_each_once():
    assert observation_times(isothermal()) == pytest.approx([0.2, 0.4, 0.5, 0.6, 0.8, 1.0])
    # 3 * 0.2 is not 0.6 in floating point, and yet one time
    together = observation_times(isothermal("observations.ct_times=[0.6]"))
    assert together == pytest.approx([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("observations.ct_times=[0.5,2.5]", "observations.ct_times: 2.5"),
        ("observations.mass_until=2.5", "observations.mass_until: 2.5"),
    ],
)
def test_a_measurement_after_the_end_is_refused(override, named):
    with pytest.raises(InputError, match=named) as raised:
        observation_times(isothermal(override))
    assert "is after the end of the run, time.end = 1" in str(raised.value)


def test_ct_reads_the_mean_porosity_of_each_voxel():
    found = read(isothermal())[CT]
    # blocks of 2 x 2 cells: a linear field's mean is its value at the centre
    x, y = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(2) + 0.5) / 2, indexing="ij")
    slope = 0.1 * (x + 2 * y).ravel()
    for k, t in enumerate((0.5, 1.0)):
        for sample in (0, 1):
            assert found[k, sample] == pytest.approx(EPS0 - (1 + sample) * t * slope)


def test_the_balance_reads_the_mean_porosity_lost():
    found = read(isothermal())[MASS]
    # x + 2 y is 1.5 in the mean
    expected = np.outer(weighing_times(isothermal()), [0.15, 0.3])
    assert found[..., 0] == pytest.approx(expected)


def test_thermocouples_read_kelvin_where_they_are():
    found = read(heated())[THERMOCOUPLES]
    assert found.shape == (4, 2, 2)
    for x, of_one in zip((0.25, 0.8), np.moveaxis(found, -1, 0), strict=True):
        expected = T0 * (1 + 0.1 * weighing_times(heated()) * (1 - x))
        assert of_one == pytest.approx(np.stack([expected, expected], axis=1))


def test_isothermal_parts_have_no_thermocouples():
    assert set(read(isothermal())) == {CT, MASS}


def test_a_window_leaves_the_voxels_whose_centre_it_contains():
    window = "observations.ct_window=[[0.3,0.0],[1.0,0.5]]"
    seen, everything = read(isothermal(window))[CT], read(isothermal())[CT]
    # voxels have their centres at x = 1/8, 3/8, 5/8, 7/8 and y = 1/4, 3/4, y running fastest
    assert seen == pytest.approx(everything[..., [2, 4, 6]])


def test_a_window_between_the_centres_is_refused():
    settings = isothermal("observations.ct_window=[[0.2,0.3],[0.3,0.6]]")
    with pytest.raises(InputError, match=r"observations\.ct_window: no block of 2 cells") as raised:
        measurements(settings, known_states(settings))
    assert "\n" not in str(raised.value)


def test_errors_weigh_each_instrument_by_its_own():
    settings = heated("observations.noise=0.05", "observations.thermocouple_noise=3")
    errors = {
        part.name: np.asarray(part.standard_deviation)
        for part in measurements(settings, known_states(settings)).parts
    }
    assert set(errors) == {CT, MASS, THERMOCOUPLES}
    assert np.all(errors[CT] == pytest.approx(0.05 * EPS0))
    assert np.all(errors[THERMOCOUPLES] == pytest.approx(3.0))
    exact = isothermal("observations.noise=0")
    for part in measurements(exact, known_states(exact)).parts:
        assert np.all(np.asarray(part.standard_deviation) > 0)
