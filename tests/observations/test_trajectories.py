import errno
import re

import numpy as np
import pytest
import xarray as xr

from impindiff.errors import ImpindiffError, InputError
from impindiff.observations import Trajectories, provenance, written_whole

NX, NY = 8, 4
X = -1.0 + (np.arange(NX) + 0.5) * 2.0 / NX
Y = (np.arange(NY) + 0.5) / NY
TIMES = np.array([0.0, 0.05, 0.102, 0.2])


def trajectories(samples: int = 3, **changes) -> Trajectories:
    rng = np.random.default_rng(0)
    given = {
        "field": rng.random((samples, len(TIMES), NX, NY)),
        "times": TIMES,
        "coordinates": {"x": X, "y": Y},
        "latent": {"velocity_x": rng.random((NX, NY)), "velocity_y": rng.random((NX, NY))},
    }
    return Trajectories(**(given | changes))


def refused(path, *parts: str, **reading) -> None:
    with pytest.raises(InputError) as raised:
        Trajectories.from_netcdf(path, **reading)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    for part in parts:
        assert part in message, message


def written(tmp_path, dataset: xr.Dataset):
    path = tmp_path / "mine.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def dataset() -> xr.Dataset:
    return trajectories().to_dataset()


def test_a_file_read_back_is_the_same(tmp_path):
    attrs = provenance("A title", "made here", {"seed": 3, "refine": 2})
    mine = trajectories(attrs=attrs, variable_attrs={"phi": {"units": "kg m-3"}})
    mine.to_netcdf(tmp_path / "f.nc")
    again = Trajectories.from_netcdf(tmp_path / "f.nc")
    np.testing.assert_array_equal(again.field, mine.field)
    np.testing.assert_array_equal(again.times, mine.times)
    for name, values in mine.latent.items():
        np.testing.assert_array_equal(again.latent[name], values)
    assert again.attrs == attrs
    assert '"refine": 2' in again.attrs["configuration"]
    assert again.variable_attrs["phi"]["units"] == "kg m-3"
    assert [f.name for f in tmp_path.iterdir()] == ["f.nc"]


def test_every_variable_is_described(dataset):
    for name in dataset.variables:
        attrs = dataset[name].attrs
        assert attrs["long_name"]
        assert name == "sample" or {"units", "scaling"} & set(attrs)


def test_the_domain_comes_from_the_coordinates():
    mine = trajectories()
    assert mine.cells == (NX, NY)
    np.testing.assert_allclose(mine.lower, (-1.0, 0.0), atol=1e-15)
    np.testing.assert_allclose(mine.upper, (1.0, 1.0), atol=1e-15)
    np.testing.assert_allclose(mine.cell_size, (0.25, 0.25))


def test_the_order_of_dimensions_and_the_type_do_not_matter(tmp_path, dataset):
    turned = dataset.transpose("y", "x", "time", "sample").astype(np.float32)
    turned = turned.assign_coords(x=turned.x.astype(np.float32), time=TIMES.astype(np.float32))
    again = Trajectories.from_netcdf(written(tmp_path, turned))
    np.testing.assert_allclose(again.field, trajectories().field, rtol=1e-6)
    assert again.field.dtype == np.float64
    assert again.index_of_times([0.102]) == [2]


def test_times_with_units_of_time_stay_numbers(tmp_path, dataset):
    for units in ("s", "days since 2020-01-01"):
        dataset.time.attrs["units"] = units
        again = Trajectories.from_netcdf(written(tmp_path, dataset))
        np.testing.assert_array_equal(again.times, TIMES)


def test_truth_is_optional(tmp_path, dataset):
    again = Trajectories.from_netcdf(written(tmp_path, dataset.drop_vars("velocity_x")))
    assert list(again.latent) == ["velocity_y"]


@pytest.mark.parametrize("space", [("z",), ("r", "q", "z")])
def test_other_names_and_numbers_of_dimensions(tmp_path, space):
    cells = tuple(range(3, 3 + len(space)))
    mine = Trajectories(
        field=np.random.default_rng(0).random((2, 4, *cells)),
        times=TIMES,
        coordinates={d: np.arange(n) + 0.5 for d, n in zip(space, cells, strict=True)},
        variable="w",
        latent={"k": np.ones(cells)},
    )
    mine.to_netcdf(tmp_path / "f.nc")
    again = Trajectories.from_netcdf(tmp_path / "f.nc", "w", space, ("k",))
    np.testing.assert_array_equal(again.field, mine.field)
    assert again.space == space
    np.testing.assert_allclose(again.upper, cells)


def test_times_are_found_by_value():
    assert trajectories().index_of_times([0.2, 0.05 + 1e-9]) == [3, 1]
    with pytest.raises(InputError, match=r"observations.times: .* 0.07; .* 0 to 0.2 .* is 0.05"):
        trajectories().index_of_times([0.05, 0.07])
    with pytest.raises(InputError, match=r"no data at nan"):
        trajectories().index_of_times([float("nan")])


def test_split():
    assert trajectories(samples=4).split([3, 1]) == ([0, 2], [3, 1])
    assert trajectories(samples=1).split([]) == ([0], [])


@pytest.mark.parametrize(
    ("held_out", "part"),
    [
        ([3], "no sample 3; the 3 samples are numbered 0 to 2"),
        ([-1], "no sample -1"),
        ([1, 1], "given twice"),
        ([0, 1, 2], "keeps back all 3"),
    ],
)
def test_a_split_that_cannot_be_is_refused(held_out, part):
    with pytest.raises(InputError, match=rf"^data\.held_out: .*{re.escape(part)}"):
        trajectories().split(held_out)


def test_files_that_are_not_netcdf(tmp_path, dataset):
    refused(tmp_path / "absent.nc", "no such file")
    refused(tmp_path, "is not a file")
    text = tmp_path / "text.nc"
    text.write_text("sample,time,x,y\n")
    refused(text, "cannot be read as NetCDF-4")
    (tmp_path / "empty.nc").touch()
    refused(tmp_path / "empty.nc", "cannot be read as NetCDF-4")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short(tmp_path, dataset, share):
    path = written(tmp_path, dataset)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "cannot be read as NetCDF-4")


def test_wrong_names(tmp_path, dataset):
    refused(
        written(tmp_path, dataset.rename(phi="c")),
        "no variable 'phi'",
        "it has (c, velocity_x, velocity_y)",
    )
    refused(
        written(tmp_path, dataset.rename(x="lon")),
        "variable 'phi' has dimensions (sample, time, lon, y)",
        "expected (sample, time, x, y)",
    )
    refused(written(tmp_path, dataset.isel(sample=0)), "has dimensions (time, x, y)", "expand_dims")


@pytest.mark.parametrize("name", ["time", "x", "y"])
def test_missing_coordinates(tmp_path, dataset, name):
    refused(written(tmp_path, dataset.drop_vars(name)), f"dimension '{name}' has no coordinate")


def changed(dataset: xr.Dataset, name: str, index: int, value: float) -> xr.Dataset:
    values = dataset[name].to_numpy().copy()
    values[index] = value
    return dataset.assign_coords({name: values})


@pytest.mark.parametrize(
    ("name", "index", "value", "part"),
    [
        ("x", 7, 0.95, "coordinate 'x' is not evenly spaced: from index 6 (0.625) to 7 (0.95)"),
        ("y", 1, 0.3, "coordinate 'y' is not evenly spaced: from index 0 (0.125) to 1 (0.3)"),
        ("y", 2, np.nan, "coordinate 'y' is nan at index 2"),
        ("time", 2, 0.05, "must increase, but goes from 0.05 at index 1 to 0.05 at index 2"),
        ("time", 3, 0.01, "goes from 0.102 at index 2 to 0.01 at index 3"),
        ("time", 1, np.nan, "coordinate 'time' is nan at index 1"),
    ],
)
def test_wrong_coordinates(tmp_path, dataset, name, index, value, part):
    refused(written(tmp_path, changed(dataset, name, index, value)), part)


def test_a_missing_row_of_cells_is_named(tmp_path, dataset):
    refused(
        written(tmp_path, dataset.drop_isel(x=3)),
        "coordinate 'x' is not evenly spaced: from index 2 (-0.375) to 3 (0.125)",
        "the gap is 0.5, elsewhere 0.25",
    )


def test_cells_in_falling_order(tmp_path, dataset):
    refused(written(tmp_path, dataset.isel(x=slice(None, None, -1))), "sortby('x')")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, dataset, value):
    dataset.phi[1, 2, 3, 0] = value
    dataset.phi[2, 0, 0, 0] = value
    refused(
        written(tmp_path, dataset),
        f"variable 'phi' is {value} at index sample=1, time=2, x=3, y=0 (2 such values",
    )


def test_a_fill_value_counts_as_missing(tmp_path, dataset):
    dataset.phi[0, 1, 0, 0] = -999.0
    dataset.phi.encoding["_FillValue"] = -999.0
    refused(written(tmp_path, dataset), "is nan at index sample=0, time=1, x=0, y=0")


def test_a_latent_field_with_a_hole(tmp_path, dataset):
    dataset.velocity_y[2, 1] = np.nan
    refused(written(tmp_path, dataset), "variable 'velocity_y' is nan at index x=2, y=1")


def test_too_little(tmp_path, dataset):
    refused(written(tmp_path, dataset.isel(time=[0])), "'time' has 1 value(s); at least 2")
    refused(written(tmp_path, dataset.isel(y=[0])), "'y' has 1 cell(s); at least 2")
    refused(written(tmp_path, dataset.isel(sample=[])), "shape (0, 4, 8, 4); expected (samples, at")


def test_wrong_types_and_shapes(tmp_path, dataset):
    words = dataset.assign(phi=(dataset.phi.dims, np.full(dataset.phi.shape, "a")))
    refused(written(tmp_path, words), "variable 'phi' holds", "not real numbers")
    flat = dataset.assign(velocity_x=("x", np.ones(NX)))
    refused(written(tmp_path, flat), "variable 'velocity_x' has dimensions (x)", "expected (x, y)")
    with pytest.raises(InputError, match=r"'k' has shape \(4, 8\).* = \(8, 4\)"):
        trajectories(latent={"k": np.ones((NY, NX))})
    with pytest.raises(InputError, match=r"'phi' has shape"):
        trajectories(field=np.ones((2, len(TIMES), NX + 1, NY)))


def test_nothing_half_written(tmp_path):
    target = tmp_path / "f.txt"
    target.write_text("before")

    def fail():
        with written_whole(target) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "before"
    assert [f.name for f in tmp_path.iterdir()] == ["f.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Unable to write (errno = 28, error message = 'No space left on device')"),
    ],
)
def test_a_disk_that_becomes_full(tmp_path, error):
    target = tmp_path / "f.txt"

    def fill():
        with written_whole(target) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(ImpindiffError, match=r"f\.txt: the disk is full; make room and try again"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        trajectories().to_netcdf(tmp_path / "absent" / "f.nc")
    with pytest.raises(InputError, match="is a folder"):
        trajectories().to_netcdf(tmp_path)
