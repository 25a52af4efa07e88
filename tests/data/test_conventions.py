"""Attributes of the CF conventions are followed in every format that can carry them."""

from typing import Any

import data_files as made
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

import impindiff as ipd
from impindiff.data._packing import unpacked
from impindiff.data.units import convert

few = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
T, X = np.array([0.0, 1.0, 2.0]), np.arange(4.0)
STORED = np.array([[0, 1, 2, -9], [-8, 5, 6, 7], [99, -99, 10, 11]], np.int16)
# -9 fills, -8 is missing, 99 and -99 are not valid; then p / 4 + 10
PACKED = {
    "_FillValue": np.int16(-9),
    "missing_value": np.int16(-8),
    "valid_range": np.array([-50, 50], np.int16),
    "scale_factor": 0.25,
    "add_offset": 10.0,
    "units": "g/m3",
}
MEANT = np.where((STORED == -9) | (STORED == -8) | (np.abs(STORED) > 50), np.nan, STORED / 4 + 10)
TIMES = {"units": "months since 2000-01-01", "calendar": "360_day"}


def raw() -> xr.Dataset:
    return xr.Dataset(
        {"u": (("time", "x"), STORED, PACKED)}, {"time": ("time", T, TIMES), "x": ("x", X)}
    )


def netcdf(path):
    raw().to_netcdf(path / "a.nc", engine="h5netcdf")
    return path / "a.nc"


def netcdf3(path):
    raw().to_netcdf(path / "b.nc", engine="scipy")
    return path / "b.nc"


def zarr2(path):
    raw().to_zarr(path / "c.zarr", zarr_format=2, consolidated=False)
    return path / "c.zarr"


def zarr3(path):
    raw().to_zarr(path / "d.zarr", zarr_format=3, consolidated=False)
    return path / "d.zarr"


def _hdf5(path, arrays, time):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
            # as NetCDF's library stores them: one entry each
            for key, value in (PACKED if values.dtype == np.int16 else {}).items():
                file[name].attrs[key] = value if isinstance(value, str) else np.atleast_1d(value)
        for key, value in TIMES.items():
            file[time].attrs[key] = value
    return path


def plain_hdf5(path):
    return _hdf5(path / "e.h5", {"u": STORED, "time": T, "x": X}, "time")


def pdebench(path):
    arrays = {"u": STORED[None], "t-coordinate": T, "x-coordinate": X}
    return _hdf5(path / "f.h5", arrays, "t-coordinate")


def pdebench_groups(path):
    arrays = {"0000/data": STORED[..., None], "0000/grid/t": T, "0000/grid/x": X}
    return _hdf5(path / "g.h5", arrays, "0000/grid/t")


def the_well(path):
    arrays = {"t0_fields/u": STORED, "dimensions/time": T, "dimensions/x": X}
    found = _hdf5(path / "h.h5", arrays, "dimensions/time")
    with h5py.File(found, "a") as file:
        file["t0_fields/u"].attrs["sample_varying"] = False
    return found


def mat73(path):
    found = _hdf5(path / "i.mat", {"u": STORED.T, "t": T, "x": X}, "t")
    return found


MAKERS = (netcdf, netcdf3, zarr2, zarr3, plain_hdf5, pdebench, pdebench_groups, the_well, mat73)


@pytest.mark.filterwarnings("ignore:The data type")
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_packed_values_and_calendars_are_the_same_numbers_in_every_format(tmp_path, make):
    path = make(tmp_path)
    found = ipd.data.read_fields(path)
    name = next(iter(found.data_vars))  # u0 or u
    found = ipd.data.read_fields(path, {name: "u"}, units={"u": "kg/m3"}).squeeze(drop=True)
    np.testing.assert_allclose(found["u"].transpose("time", "x"), MEANT / 1000, rtol=1e-14)
    np.testing.assert_array_equal(found["time"], np.array([0, 30, 60]) * 86400.0)
    assert set(found["u"].attrs) <= {"units", "CLASS"}
    assert ipd.data.inspect(path).variables[name].missing == 4


def test_what_is_written_of_packed_values_reads_back(tmp_path):
    found = ipd.data.read_fields(netcdf(tmp_path))
    for suffix in (".nc", ".zarr"):
        ipd.data.write(found, tmp_path / f"again{suffix}")
        xr.testing.assert_identical(ipd.data.read(tmp_path / f"again{suffix}"), found)


VALUES: dict[str, Any] = {
    "bytes that are unsigned": (
        np.array([-1, 2], np.int8), {"_Unsigned": "true", "_FillValue": np.int8(2)}, [255, np.nan]
    ),
    "double marker of single values": (
        np.array([-999.9, 1], np.float32), {"missing_value": -999.9}, [np.nan, 1]
    ),
    "several markers": (np.array([1, 2, 3]), {"missing_value": [1, 3]}, [np.nan, 2, np.nan]),
    "markers as text": (np.array([1.0, 2]), {"missing_value": "1"}, [np.nan, 2]),
    "text that is no marker": (np.array([1.0, 2]), {"missing_value": "none"}, [1, 2]),
    "range of the numbers meant": (
        np.array([1, 200], np.int16), {"scale_factor": 0.1, "valid_max": 10.0}, [0.1, np.nan]
    ),
    "a whole marker that fits no float": (
        np.array([-32768, 5], np.int16), {"_FillValue": np.float64(-32768.5)}, [-32768, 5]
    ),
    "range as two": (np.array([1.0, 5, 9]), {"valid_min": 2, "valid_max": 8}, [np.nan, 5, np.nan]),
}  # fmt: skip


@pytest.mark.parametrize(("values", "attrs", "expected"), VALUES.values(), ids=VALUES)
def test_numbers_that_are_meant(values, attrs, expected):
    np.testing.assert_allclose(unpacked("u", values, attrs), expected, rtol=1e-14)


@pytest.mark.parametrize("value", ["a lot", [1.0, 2.0], np.nan])
def test_a_scale_that_is_no_number_is_refused(value):
    with pytest.raises(ipd.InputError, match="'u': its attribute 'scale_factor' is"):
        unpacked("u", np.ones(2), {"scale_factor": value})


def test_what_netcdf_never_wrote_is_missing(tmp_path):
    given = made.fields()
    given["u"][0, 0, 0, 0] = 9.969209968386869e36
    given["u"].encoding["_FillValue"] = None
    found = ipd.data.read_fields(made.netcdf(tmp_path, given))
    assert int(found["u"].isnull().sum()) == 1


@pytest.mark.parametrize(("kind", "off"), [(np.complex128, 1e-12), (np.complex64, 1e-7)])
def test_complex_values_are_real_if_the_imaginary_part_is_round_off(tmp_path, kind, off):
    u = (made.U[0, :, :, 0] * (1 + 1j * off)).astype(kind)
    arrays = {"u": u, "t": made.T, "x": made.X}
    np.savez(tmp_path / "a.npz", **arrays)
    savemat(tmp_path / "a.mat", arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    pairs = np.zeros(u.T.shape, [("real", u.real.dtype), ("imag", u.real.dtype)])
    pairs["real"], pairs["imag"] = u.real.T, u.imag.T
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["u"], file["t"], file["x"] = pairs, made.T, made.X
    for name in ("a.npz", "a.mat", "a.h5", "b.mat"):
        found = ipd.data.read_fields(tmp_path / name)
        np.testing.assert_allclose(found["u"], made.U[0, :, :, 0], rtol=1e-6)
    np.savez(tmp_path / "c.npz", **(arrays | {"u": u + 1e-3j}))
    with pytest.raises(ipd.InputError, match=r"'u' holds complex values, .* being 0\.001"):
        ipd.data.read(tmp_path / "c.npz")


CALENDARS = [
    ("months since 1960-01-01", "360_day", 30.0),
    ("3 months since 1960-01-01", "360_day", 90.0),
    ("years since 1948-01-01", "noleap", 365.0),
    ("year since 1948-01-01", "365_day", 365.0),
    ("yr since 1948-01-01", "all_leap", 366.0),
    ("years since 1948-01-01", "360_day", 360.0),
    ("days since 2000-02-27", "julian", 1.0),
    ("hours after 2000-02-27", "proleptic_gregorian", 1 / 24),
    ("10 minutes since 2000-02-27", None, 1 / 144),
    ("months since 2000-01-01", "standard", None),
    ("months since 2000-01-01", None, None),
    ("months since 2000-01-01", "noleap", None),
    ("years since 2000-01-01", "julian", None),
    ("2 months since 2000-01-01", "standard", None),
    ("decades since 2000-01-01", "gregorian", None),
    ("day as %Y%m%d.%f", "standard", None),
    ("YYYYMMDD", None, None),
]


@pytest.mark.few(9)
@pytest.mark.parametrize(("unit", "calendar", "days"), CALENDARS)
def test_times_of_calendars(tmp_path, unit, calendar, days):
    attrs = {"units": unit} | ({} if calendar is None else {"calendar": calendar})
    given = made.fields().assign_coords(time=("time", [20.0, 21.0, 23.0], attrs))
    path = made.netcdf(tmp_path, given)
    if days is None:
        with pytest.raises(ipd.InputError, match=r"'time' is in '.*'.*; write it"):
            ipd.data.read_fields(path)
        return
    found = ipd.data.read_fields(path)
    np.testing.assert_allclose(found["time"], np.array([0, 1, 3]) * days * 86400, rtol=1e-14)


def test_months_are_not_converted_without_a_calendar(tmp_path):
    given = made.fields().assign_coords(time=("time", made.T, {"units": "months"}))
    with pytest.raises(ipd.InputError, match="in which these differ in length"):
        ipd.data.read_fields(made.netcdf(tmp_path, given), units={"time": "days"})


@pytest.mark.parametrize(
    ("unit", "wanted", "factor"),
    [
        ("W m-2 K-1", "kW/(m**2 * K)", 1e-3),
        ("m2.s-2", "m^2/s^2", 1.0),
        ("kg m -3", "g/m3", 1e3),
        ("1e-3 kg m-3", "g/m3", 1.0),
        ("1e-3", "1", 1e-3),
        ("g/kg", "1e-3", 1.0),
        ("%", "none", 0.01),
        ("degC m-1", "K/m", 1.0),
        ("m**1e9", "m", None),
    ],
)
def test_grammar_of_units(unit, wanted, factor):
    given = xr.Variable("x", [3.0], {"units": unit})
    if factor is None:
        with pytest.raises(ipd.InputError, match="cannot be converted to 'm'"):
            convert(given, "u", wanted)
    else:
        np.testing.assert_allclose(convert(given, "u", wanted), [3.0 * factor], rtol=1e-14)


def test_nanoseconds_since_1970_lose_nothing(tmp_path):
    first = 1_700_000_000_000_000_000
    times = ("time", np.array([first, first + 3, first + 1001]), {"units": "ns since 1970-01-01"})
    found = ipd.data.read_fields(made.netcdf(tmp_path, made.fields().assign_coords(time=times)))
    np.testing.assert_allclose(found["time"], [0, 3e-9, 1001e-9], rtol=1e-12)


@pytest.mark.slow
@few
@given(
    size=st.floats(-200, 200).map(lambda e: 10.0**e),
    origin=st.floats(-1e7, 1e7),
    spacing=st.floats(-9, 6).map(lambda e: 10.0**e),
    suffix=st.sampled_from([".nc", ".zarr"]),
)
def test_numbers_of_any_size_come_back_to_the_bit(tmp_path, size, origin, spacing, suffix):
    spacing = max(spacing, 1e-9 * abs(origin))
    x, t = origin + spacing * np.arange(4), origin + spacing * np.arange(3)
    u = size * np.sin(np.arange(12.0)).reshape(3, 4)
    given = xr.Dataset({"u": (("time", "x"), u)}, {"time": t, "x": x})
    ipd.data.write(given, tmp_path / f"a{suffix}")
    savemat(tmp_path / "a.mat", {"u": u, "t": t, "x": x})
    np.savez(tmp_path / "a.npz", u=u.T, t=t, x=x)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["t"], file["x"] = u.T, t, x
    rows = [f"{a!r},{b!r},{u[i, j]!r}" for i, a in enumerate(t.tolist())
            for j, b in enumerate(x.tolist())]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["t,x,u", *rows]).replace("np.float64(", "")
                                    .replace(")", ""))  # fmt: skip
    for name in (f"a{suffix}", "a.mat", "a.npz", "a.h5"):
        found = ipd.data.read_fields(tmp_path / name)
        for wanted, values in (("u", u), ("x", x), ("time", t)):
            np.testing.assert_array_equal(found[wanted], values)
    found = ipd.data.read_points(tmp_path / "a.csv")
    np.testing.assert_array_equal(found["value"], u.ravel())
    np.testing.assert_array_equal(found["time"], np.repeat(t, 4))
