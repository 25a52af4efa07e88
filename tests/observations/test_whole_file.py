"""Files appear under their names only when they are whole, and what fails leaves nothing."""

import errno

import numpy as np
import pytest
import xarray as xr

from impindiff.data import provenance, write_netcdf, written_whole
from impindiff.errors import ImpindiffError, InputError


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


def test_where_a_file_came_from_stays_in_it(tmp_path):
    attrs = provenance("A title", "made here", {"seed": 3, "refine": 2})
    write_netcdf(xr.Dataset({"u": ("x", np.ones(3))}, attrs=attrs), tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as again:
        assert again.attrs == attrs
    assert '"refine": 2' in attrs["configuration"]
    assert [f.name for f in tmp_path.iterdir()] == ["f.nc"]


def test_places_that_cannot_be_written(tmp_path):
    dataset = xr.Dataset({"u": ("x", np.ones(3))})
    with pytest.raises(InputError, match="there is no folder"):
        write_netcdf(dataset, tmp_path / "absent" / "f.nc")
    with pytest.raises(InputError, match="is a folder"):
        write_netcdf(dataset, tmp_path)
