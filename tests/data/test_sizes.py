"""What a file states is judged before it is read: sizes, objects, characters, many columns."""

import io
import time
import tracemalloc
import zipfile
from typing import Any

import data_files as made
import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from rich.console import Console
from scipy.io import savemat

import impindiff as ipd
from impindiff.command.data_tables import description_tables
from impindiff.data import _memory as memory

# 16 MB, which take few bytes, where 8 are the most that may be packed so
LARGE = 2 * 10**6


@pytest.fixture(autouse=True)
def _small_bombs(monkeypatch):
    monkeypatch.setattr(memory, "_BYTES", 2**23)


def refused_without_reading(path, *parts):
    for reader in (ipd.data.read, ipd.data.inspect):
        tracemalloc.start()
        with pytest.raises(ipd.InputError) as raised:
            reader(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6, peak
        for part in parts:
            assert part in str(raised.value), raised.value


def zeros_in_npz(path, count, stated=None):
    """An archive of zeros, written piece by piece."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, size in (("t", 3), ("x", count // 3), ("u", count)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                shape = (stated or size,) if name == "u" else (size,)
                header = {"descr": "<f8", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(-(-size // 10**6)):
                    file.write(bytes(8 * min(size, 10**6)))


def test_an_archive_that_unpacks_to_gigabytes(tmp_path):
    zeros_in_npz(tmp_path / "a.npz", 3 * 10**6)
    refused_without_reading(tmp_path / "a.npz", "unpack to 32.0 MB", "decompression bomb")
    zeros_in_npz(tmp_path / "b.npz", 30, stated=10**15)
    refused_without_reading(tmp_path / "b.npz", "'u' states shape", "cut short or damaged")


def test_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", t=made.T, x=made.X, u=np.array([{}, 1], dtype=object))
    with pytest.raises(ipd.InputError, match="'u' holds Python objects, which are not read"):
        ipd.data.read(tmp_path / "a.npz")


@pytest.mark.parametrize("form", ["h5", "nc", "zarr", "p.h5"])
def test_a_coordinate_that_states_more_than_is_stored(tmp_path, form):
    path = tmp_path / f"a.{form}"
    options: Any = {"chunks": (10**5,)}
    if form == "nc":
        with h5netcdf.File(path, "w") as file:
            file.dimensions = {"x": LARGE, "time": 3}
            file.create_variable("time", ("time",), data=made.T)
            file.create_variable("x", ("x",), "f8", **options)
            file.create_variable("u", ("time", "x"), "f8", chunks=(1, 10**5))
    elif form == "zarr":
        group = zarr.open_group(path, mode="w", zarr_format=2)
        for name, size in (("time", 3), ("x", LARGE)):
            array = group.create_array(name, shape=(size,), dtype="f8", **options)
            array.attrs["_ARRAY_DIMENSIONS"] = [name]
        array = group.create_array("u", shape=(3, LARGE), dtype="f8", chunks=(1, 10**5))
        array.attrs["_ARRAY_DIMENSIONS"] = ["time", "x"]
    else:
        names = ("x-coordinate", "t-coordinate") if form == "p.h5" else ("x", "t")
        with h5py.File(path, "w") as file:
            file.create_dataset(names[0], (LARGE,), "f8", **options)
            file[names[1]] = made.T
            file.create_dataset("u", (1, 3, LARGE), "f8", chunks=(1, 1, 10**5))
    refused_without_reading(path, "unpack to 16.0 MB")


def test_points_that_are_too_many_are_not_called_a_coordinate(tmp_path):
    path = tmp_path / "a.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"observation": 10**12}
        for name in ("time", "x", "value"):
            file.create_variable(name, ("observation",), "f8", chunks=(10**5,))
    with pytest.raises(ipd.InputError, match=r"its points take .*; leave out points") as raised:
        ipd.data.read(path)
    assert "coordinate" not in str(raised.value)


def test_a_matlab_file_that_unpacks_to_gigabytes(tmp_path):
    savemat(tmp_path / "a.mat", {"u": np.zeros((2, 3))}, do_compression=True)
    whole = (tmp_path / "a.mat").read_bytes()
    import zlib

    inside = bytearray(zlib.decompress(whole[136:]))
    inside[4:8] = np.uint32(2**31 - 8).tobytes()  # of its tag, the length
    packed = zlib.compress(bytes(inside))
    start = whole[:128] + np.array([15, len(packed)], np.uint32).tobytes()
    (tmp_path / "a.mat").write_bytes(start + packed)
    refused_without_reading(tmp_path / "a.mat", "unpack to 2.1 GB")


def seconds(call):
    begin = time.process_time()
    call()
    return time.process_time() - begin


@pytest.mark.slow
def test_time_grows_with_the_columns_and_not_with_their_square(tmp_path):
    paths = {}
    for count in (500, 4000):
        names = ",".join(f"q{i}" for i in range(count))
        row = ",".join(map(str, range(count)))
        paths[count] = tmp_path / f"{count}.csv"
        paths[count].write_text(f"time,x,{names}\n0,0,{row}\n1,1,{row}\n")
    ipd.data.inspect(paths[500])
    few, many = (min(seconds(lambda p=p: ipd.data.inspect(p)) for _ in range(2))
                 for p in paths.values())  # fmt: skip
    # 8 times the columns: 64 times if it were their square
    assert many < 24 * few


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    odd = "u\x1b[31m\x07\u202e"
    given = made.fields()[["u"]].rename(u=odd)
    given[odd].attrs = {"units": "\x1b]0;title\x07", "long_name": "\x9b2J"}
    given.attrs = {"ti\x1btle": "\x1b[2J"}
    path = made.netcdf(tmp_path, given)
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    for table in description_tables(ipd.data.inspect(path)):
        console.print(table)
    printed = shown.getvalue()
    assert "\\x1b[31m\\x07" in printed
    with pytest.raises(ipd.InputError) as raised:
        ipd.data.read(path, ["w"])
    for text in (printed, str(raised.value)):
        assert not [c for c in text if c != "\n" and not c.isprintable()]
    xr.testing.assert_equal(ipd.data.read(path)[odd], given[odd])
