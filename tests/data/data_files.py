"""Small files of every format that is read, all holding the same fields or points."""

from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from scipy.io import savemat

T = np.array([0.0, 0.1, 0.25])
X = np.linspace(0.1, 0.9, 5)
Y = np.linspace(0.5, 3.5, 4)
U = np.sin(np.arange(2 * 3 * 5 * 4)).reshape(2, 3, 5, 4)  # (sample, time, x, y)
V = np.cos(np.arange(2 * 3 * 5 * 4)).reshape(2, 3, 5, 4)
CSV = """# dye in a tank
time [s],x [m],y [m],quantity,value [mg/l],standard_deviation
0,0.5,1,dye,1.5,0.1
0.5,0.25,2,dye,,0.1
1,0.5,1,dye,2.5,
"""


def fields() -> xr.Dataset:
    dims = ("sample", "time", "x", "y")
    return xr.Dataset(
        {
            "u": (dims, U.copy(), {"units": "m/s", "long_name": "speed"}),
            "v": (dims, V.copy()),
        },
        {
            "sample": [0, 1],
            "time": ("time", T, {"units": "s"}),
            "x": ("x", X, {"units": "m"}),
            "y": ("y", Y),
        },
        attrs={"title": "made up"},
    )


def netcdf(folder: Path, dataset: xr.Dataset | None = None) -> Path:
    (fields() if dataset is None else dataset).to_netcdf(folder / "f.nc", engine="h5netcdf")
    return folder / "f.nc"


def netcdf3(folder: Path) -> Path:
    fields().to_netcdf(folder / "f3.nc", engine="scipy")
    return folder / "f3.nc"


def zarr(folder: Path) -> Path:
    fields().to_zarr(folder / "f.zarr", zarr_format=2, consolidated=False)
    return folder / "f.zarr"


def pdebench(folder: Path, times=T, **changes) -> Path:
    """The form with an array a quantity; t has one entry more, as the generator writes it."""
    given = {"u": U, "v": V, "x-coordinate": X, "y-coordinate": Y}
    given["t-coordinate"] = np.append(times, 0.5)
    return _hdf5(folder / "p.hdf5", given | changes)


def pdebench_groups(folder: Path, channels=(U, V)) -> Path:
    given = {}
    for i in range(len(U)):
        given[f"{i:04d}/data"] = np.stack([c[i] for c in channels], axis=-1).astype(np.float32)
        given |= {f"{i:04d}/grid/{n}": a for n, a in (("t", T), ("x", X), ("y", Y))}
    return _hdf5(folder / "g.h5", given)


def plain_hdf5(folder: Path, **changes) -> Path:
    return _hdf5(folder / "a.h5", {"u": U, "v": V, "t": T, "x": X, "y": Y} | changes)


def _hdf5(path: Path, given) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in given.items():
            if values is not None:
                file.create_dataset(name, data=values)
    return path


def the_well(folder: Path) -> Path:
    """u and v as components of a vector; a steady map, a pressure of no sample, and scalars."""
    path = folder / "w.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["grid_type"] = "cartesian"
        file.attrs["dataset_name"] = "tank"
        file.attrs["simulation_parameters"] = ["nu"]
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        for name, values in (("time", T), ("x", X), ("y", Y)):
            dimensions[name] = values
        scalars = file.create_group("t0_fields")
        _field(scalars, "density", U[0, 0], sample=False, time=False)
        _field(scalars, "profile", U[:, :, :, 0], across=(True, False))
        _field(file.create_group("t1_fields"), "velocity", np.stack([U, V], axis=-1))
        tensor = np.stack([U, V, V, -U], axis=-1)
        _field(file.create_group("t2_fields"), "stress", tensor.reshape(*U.shape, 2, 2))
        file.create_group("scalars")["nu"] = 0.1
        file.create_group("boundary_conditions/x_wall").attrs["bc_type"] = "wall"
    return path


def _field(group, name, values, sample=True, time=True, across=(True, True)):
    entry = group.create_dataset(name, data=values)
    entry.attrs["sample_varying"], entry.attrs["time_varying"] = sample, time
    entry.attrs["dim_varying"] = across


def mat(folder: Path, **changes) -> Path:
    given = {"u": U, "v": V, "t": T[:, None], "x": X[:, None], "y": Y[:, None], "nu": 0.1}
    savemat(folder / "m.mat", {n: a for n, a in (given | changes).items() if a is not None})
    return folder / "m.mat"


def mat73(folder: Path) -> Path:
    path = folder / "m73.mat"
    given = {"u": U, "v": V, "t": T[:, None], "x": X[:, None], "y": Y[:, None]}
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in given.items():
            file.create_dataset(name, data=values.T).attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(116))
    return path


def npz(folder: Path, **changes) -> Path:
    given = {"u": U, "v": V, "time": T, "x": X, "y": Y} | changes
    np.savez(folder / "n.npz", **{n: a for n, a in given.items() if a is not None})
    return folder / "n.npz"


def table(folder: Path, text: str = CSV) -> Path:
    (folder / "s.csv").write_text(text)
    return folder / "s.csv"
