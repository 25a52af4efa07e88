"""Whatever is in a file, it is read or refused in one line."""

import string
from functools import partial
from pathlib import Path

import data_files as made
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import impindiff as ipd

few = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# A library raises nearly anything on a broken file; these would be our own mistakes.
OURS = (NameError, AttributeError, AssertionError, RecursionError)
MAKERS = [
    made.netcdf,
    made.netcdf3,
    made.pdebench,
    made.pdebench_groups,
    made.plain_hdf5,
    made.the_well,
    made.mat,
    made.mat73,
    made.npz,
]
every_format = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def read_or_refused(path: Path, **options) -> None:
    """A dataset of one of the forms, or one line that names the file; inspect alike."""
    for reader in (partial(ipd.data.read, **options), ipd.data.inspect):
        refusal = found = None
        try:
            found = reader(path)
        except ipd.InputError as error:
            refusal = error
        if refusal is not None:
            assert str(refusal).startswith(f"{path}: ")
            assert "\n" not in str(refusal)
            assert not isinstance(refusal.__cause__, OURS), refusal.__cause__
        elif isinstance(found, xr.Dataset):
            check_form(found)


def check_form(found) -> None:
    if ipd.data.is_points(found):
        for name in ("time", "x", "value"):
            assert np.isfinite(found[name]).all()
        assert all(v.dims == ("observation",) for v in found.data_vars.values())
        return
    assert (np.diff(found["time"]) > 0).all()
    for variable in found.data_vars.values():
        assert variable.dtype == np.float64
        assert not np.isinf(variable).any()
        assert set(variable.dims) <= {"sample", "time", "x", "y", "z"}


@few
@given(
    content=st.binary(max_size=300),
    start=st.sampled_from([b"", b"CDF\x01", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"MATLAB 5.0"]),
    suffix=st.sampled_from([".nc", ".h5", ".mat", ".npz", ".csv", ".zarr", ".dat", ""]),
)
def test_random_bytes(tmp_path, content, start, suffix):
    path = tmp_path / f"random{suffix}"
    path.write_bytes(start + content)
    read_or_refused(path)


@pytest.mark.slow
@every_format
@few
@given(data=st.data())
def test_files_with_some_bytes_changed_or_lost(tmp_path, make, data):
    path = make(tmp_path)
    content = bytearray(path.read_bytes())
    places = st.lists(st.integers(0, len(content) - 1), max_size=6)
    for place in data.draw(places):
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    path.write_bytes(content)
    read_or_refused(path)


names = st.sampled_from(["time", "t", "x", "y", "z", "value", "quantity", "sample", "dye", "[m]"])
cells = st.one_of(
    st.floats().map(repr),
    st.integers(-3, 10**20).map(str),
    st.sampled_from(["", "NaN", "dye", "1,5", "2024-01-01", "2024-13-01", '"', "# x", "\x00"]),
    st.text(string.printable, max_size=4),
)


@pytest.mark.slow
@settings(few, max_examples=150)
@given(
    header=st.lists(st.one_of(names, st.text(max_size=5)), max_size=7),
    rows=st.lists(st.lists(cells, max_size=7), max_size=5),
    separator=st.sampled_from([",", ";", "\t"]),
)
def test_random_tables(tmp_path, header, rows, separator):
    lines = [separator.join(line) for line in [header, *rows]]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    read_or_refused(path)


@settings(few, max_examples=100)
@given(
    rows=st.lists(
        st.tuples(*[st.one_of(st.floats().map(repr), st.just(""))] * 3, st.text("ab ", max_size=2)),
        min_size=1,
        max_size=6,
    )
)
def test_tables_with_a_right_header(tmp_path, rows):
    path = tmp_path / "s.csv"
    path.write_text("time,x,value,quantity\n" + "\n".join(",".join(row) for row in rows))
    read_or_refused(path)


arrays = st.one_of(
    st.lists(st.integers(0, 5), max_size=4).map(np.ones),
    st.lists(st.floats(), max_size=5).map(np.array),
    st.sampled_from(
        [np.array("text"), np.arange(5.0), np.ones(5, complex), np.array([True]), made.T, made.X]
    ),
)


@settings(few, max_examples=100)
@given(given_arrays=st.dictionaries(st.one_of(names, st.sampled_from("uv")), arrays, max_size=6))
def test_random_arrays(tmp_path, given_arrays):
    np.savez(tmp_path / "n.npz", **given_arrays)
    read_or_refused(tmp_path / "n.npz")


@pytest.mark.slow
@few
@given(
    attributes=st.dictionaries(
        st.sampled_from(["units", "scale_factor", "_FillValue", "calendar", "featureType", "axis"]),
        st.one_of(st.text(string.printable, min_size=1, max_size=12), st.floats()),
        max_size=4,
    ),
    on=st.sampled_from(["u", "time", "x"]),
    wanted=st.text(string.printable, max_size=8),
)
def test_random_attributes_and_units(tmp_path, attributes, on, wanted):
    path = made.netcdf(tmp_path)
    with h5py.File(path, "a") as file:
        for name, value in attributes.items():
            file[on].attrs[name] = value
    read_or_refused(path)
    read_or_refused(path, units={on: wanted})
