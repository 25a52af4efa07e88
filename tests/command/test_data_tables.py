"""How the description of a file is shown."""

import io

import numpy as np
import xarray as xr
from rich.console import Console

from impindiff.command.data_tables import description_tables
from impindiff.data import inspect


def fields(name, *space, times=3):
    dims = ("sample", "time", *space) if len(space) > 1 else ("time", *space)
    sizes = {"sample": 2, "time": times, "x": 8, "y": 6}
    values = np.random.default_rng(0).uniform(size=[sizes[d] for d in dims])
    coordinates = {"time": np.arange(times) / 10, "x": np.arange(8.0), "y": np.arange(6.0)}
    kept = {d: coordinates[d] for d in ("time", *space)}
    return xr.Dataset({name: (dims, values, {"units": "[red]m/s"})}, kept)


def shown(path, width):
    written = io.StringIO()
    console = Console(file=written, width=width)
    for table in description_tables(inspect(path)):
        console.print(table, crop=False)
    return written.getvalue()


def test_the_tables_show_all_as_it_is_in_the_file(tmp_path):
    path = tmp_path / "f.nc"
    given = fields("phi", "x", "y").assign_attrs(title="a [bold]title[/bold]")
    given["phi"][0, 1] = np.nan
    given.assign_coords(x=np.arange(8.0) ** 2).to_netcdf(path, engine="h5netcdf")
    text = shown(path, 300)
    for part in (
        "NetCDF-4, fields",
        "sample 2, time 3, x 8, y 6",
        "[red]m/s",
        "a [bold]title[/bold]",
        "16.7 %",
        "not evenly spaced",
        "uneven",
    ):
        assert part in text, part


def test_the_command_is_never_broken_into_lines(tmp_path):
    path = tmp_path / "f.nc"
    fields("phi", "x", "y").to_netcdf(path, engine="h5netcdf")
    lines = [line.strip() for line in shown(path, 40).splitlines()]
    assert f"impindiff run my_model.py --set data.path={path}" in lines
