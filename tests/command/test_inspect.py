"""`impindiff inspect` and what `impindiff data` writes, as a user types them."""

import pytest
import xarray as xr
from running import CASE, impindiff, settings

import impindiff as ipd


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_what_a_problem_writes_is_described_and_read(tmp_path, suffix):
    path = tmp_path / f"reference{suffix}"
    impindiff("data", CASE, "--out", path, *settings())
    shown = impindiff("inspect", path).stdout
    assert "sample 4, time" in shown
    assert "x 24, y 12" in shown
    assert "impindiff run my_model.py" in shown
    found = ipd.data.read_fields(path, ["phi"])
    assert found["phi"].attrs["long_name"]
    assert isinstance(found, xr.Dataset)


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "broken.nc").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    done = impindiff("inspect", tmp_path / "broken.nc", check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "cannot be read as" in done.stderr


def test_columns_of_other_names_are_described_as_a_run_reads_them(tmp_path):
    path = tmp_path / "logger.csv"
    path.write_text("time_h,depth_m,temp\n0,0.1,12.1\n0,0.3,11.0\n1,0.1,12.3\n")
    option = "data.variables={time_h: time, depth_m: x, temp: T}"
    told = impindiff("inspect", path, check=False).stderr
    assert "--set 'data.variables={time_h: time, NAME: x}'" in told
    shown = impindiff("inspect", path, "--set", option).stdout
    assert "2 distinct positions" in shown
    assert "T         observation 3" in shown
    assert f"--set '{option}'" in shown
    done = impindiff("inspect", path, "--set", "training.steps=3", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "takes the names of a file only" in done.stderr


def test_data_is_not_written_in_a_format_there_is_not(tmp_path):
    done = impindiff("data", CASE, "--out", tmp_path / "a.xyz", check=False)
    assert done.returncode == 2
    assert "the suffix '.xyz' is not known" in done.stderr
