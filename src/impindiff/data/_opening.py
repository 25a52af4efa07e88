"""File formats: recognise and open a file, with its arrays named and unread."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import h5netcdf
import h5py
import xarray as xr
from xarray.backends import H5NetCDFStore

from impindiff.data._arrays import open_hdf5_arrays, open_matlab, open_npz
from impindiff.data._forms import POINT_COLUMNS, require_known, roles
from impindiff.data._hdf5 import arrays_in
from impindiff.data._memory import COORDINATE, require_readable, stored_bytes
from impindiff.data._packing import meant
from impindiff.data._pdebench import is_pdebench, open_pdebench
from impindiff.data._points import look_like_points, points_from_dataset, points_from_table
from impindiff.data._table import read_table
from impindiff.data._the_well import is_the_well, open_the_well
from impindiff.data._whole_file import is_zarr_store
from impindiff.data.file_errors import reading
from impindiff.errors import InputError

Opener = Callable[[Path, ExitStack, Mapping[str, str]], xr.Dataset]
NETCDF, ZARR, HDF5, MATLAB, NPZ, CSV = "NetCDF", "Zarr", "HDF5", "MATLAB", "NPZ", "CSV"
SUFFIXES = {
    ".nc": NETCDF,
    ".nc4": NETCDF,
    ".cdf": NETCDF,
    ".zarr": ZARR,
    ".h5": HDF5,
    ".hdf5": HDF5,
    ".mat": MATLAB,
    ".npz": NPZ,
    ".csv": CSV,
    ".txt": CSV,
}

_FEWER = "leave out points, or average those close to each other"


class Opened(NamedTuple):
    """The format's name and the arrays of an open file, read when used."""

    format: str
    dataset: xr.Dataset


@contextmanager
def opened(path: str | Path, variables: object = None) -> Iterator[Opened]:
    """Open a file for the duration of the block; suffix and content determine the format.

    **Arguments:**

    - `variables`: as in `read`; entries of {name in the file: name wanted} assign axes and columns.

    **Raises:** `InputError` starting with the path, also for one raised inside the block.
    """
    path = Path(path)
    try:
        names = roles(variables, POINT_COLUMNS)
        with ExitStack() as closing:
            name, opener = _format_of(path)
            with reading(name):
                dataset = opener(path, closing, names)
            yield Opened(name, dataset)
    except InputError as error:
        # names and units in a file may contain anything, line breaks included
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error.__cause__


def _format_of(path: Path) -> tuple[str, Opener]:
    with reading("a file or folder"):
        exists, folder = path.exists(), path.is_dir()
    if not exists:
        raise InputError("there is no such file")
    if folder:
        if not is_zarr_store(path):
            raise InputError(
                "is a folder and no Zarr store (it has no zarr.json); give the path of a file"
            )
        return "Zarr", _open_zarr
    if not path.is_file():
        raise InputError("is neither a file nor a folder; give the path of a file")
    with reading("a file"), path.open("rb") as file:
        start = file.read(256)
    if not start:
        raise InputError("is empty (0 bytes); copy or write it again")
    expected = SUFFIXES.get(path.suffix.lower())
    if h5py.is_hdf5(path):
        return _hdf5_format(path, start, expected)
    found = _content(start)
    if found is None and expected is None:
        raise InputError(
            f"the suffix '{path.suffix}' is not known and the content is not either; data are read "
            f"from {', '.join(SUFFIXES)}"
        )
    binary = {"NetCDF-3": (NETCDF, _open_netcdf3), MATLAB: (MATLAB, open_matlab)}
    binary[NPZ] = (NPZ, open_npz)
    if found is not None:
        family, opener = binary[found]
        if expected not in (None, family):
            raise InputError(
                f"has the suffix '{path.suffix}', but its content is {found}; rename it to end in "
                f"{_suffix_of(family)}"
            )
        return found, opener
    if expected == CSV:
        return CSV, _open_csv
    raise InputError(
        f"cannot be read as {expected}, which the suffix '{path.suffix}' stands for: it does not "
        f"start like one; it may be cut short, not fully downloaded or of another format"
    )


def _content(start: bytes) -> str | None:
    if start[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05"):
        return "NetCDF-3"
    if start.startswith(b"MATLAB 5.0"):
        return MATLAB
    return NPZ if start.startswith(b"PK\x03\x04") else None


def _suffix_of(family: str) -> str:
    return next(suffix for suffix, name in SUFFIXES.items() if name == family)


def _hdf5_format(path: Path, start: bytes, expected: str | None) -> tuple[str, Opener]:
    """Recognise HDF5 layouts by content, and by suffix for MATLAB and for NetCDF without marks."""
    if expected == MATLAB or start.startswith(b"MATLAB 7.3"):
        return "MATLAB 7.3", open_matlab
    if expected not in (None, NETCDF, HDF5):
        raise InputError(
            f"has the suffix '{path.suffix}', but its content is HDF5; rename it to end in .h5 or "
            f".nc"
        )
    with reading("HDF5"), h5py.File(path) as file:
        if is_the_well(file):
            return "HDF5 of The Well", open_the_well
        if is_pdebench(file):
            return "HDF5 of PDEBench", open_pdebench
        scales = any(entry.is_scale for entry in arrays_in(file).values())
        if expected == NETCDF or scales or "_NCProperties" in file.attrs:
            return "NetCDF-4", _open_netcdf4
    return "HDF5", open_hdf5_arrays


def _open_netcdf4(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    # files that h5netcdf and xarray open themselves stay open if they are broken
    hdf5 = closing.enter_context(h5py.File(path))
    file = closing.enter_context(h5netcdf.File(hdf5, "r", decode_vlen_strings=True))
    return _open_with_xarray(path, H5NetCDFStore(file), closing, "store", names)


def _open_netcdf3(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    # SciPy reads all of an open file; it would memory-map a path, and a truncated file then crashes
    # the process
    whole = "all values of a file in the classic format of NetCDF, which are read at once,"
    require_readable(whole, path.stat().st_size, "convert it by nccopy -k nc4")
    return _open_with_xarray(path, closing.enter_context(path.open("rb")), closing, "scipy", names)


def _open_zarr(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    return _open_with_xarray(path, path, closing, "zarr", names)


def _open_with_xarray(
    path: Path,
    source: Path | BinaryIO | H5NetCDFStore,
    closing: ExitStack,
    engine: str,
    names: Mapping[str, str],
) -> xr.Dataset:
    # units such as "s" would otherwise turn times into dates or durations
    options = {"consolidated": False} if engine == "zarr" else None
    dataset = xr.open_dataset(
        source,
        engine=engine,
        decode_times=False,
        mask_and_scale=False,
        cache=False,
        create_default_indexes=False,
        backend_kwargs=options,
    )
    closing.callback(dataset.close)
    require_known(names, list(map(str, {*dataset.variables, *dataset.sizes})))
    # coordinates are read when they become indices; points are read entirely
    read = [v.nbytes for n, v in dataset.variables.items() if v.ndim == 1 and v.dims == (n,)]
    points = look_like_points(dataset, names)
    needed = dataset.nbytes if points else sum(read)
    what, advice = ("its points", _FEWER) if points else ("its coordinates", COORDINATE)
    require_readable(what, needed, advice, stored_bytes(path, needed))
    dataset = meant(dataset)
    return points_from_dataset(dataset, names) if points else dataset


def _open_csv(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    del closing
    return points_from_table(read_table(path, names))
