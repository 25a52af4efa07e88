"""Which commands take which file, and how it is shown."""

import io

import numpy as np
import xarray as xr
from rich.console import Console

from impindiff.data import inspect
from impindiff.inspection import commands_for, description_tables


def fields(name, *space, times=3):
    dims = ("sample", "time", *space) if len(space) > 1 else ("time", *space)
    sizes = {"sample": 2, "time": times, "x": 8, "y": 6}
    values = np.random.default_rng(0).uniform(size=[sizes[d] for d in dims])
    coordinates = {"time": np.arange(times) / 10, "x": np.arange(8.0), "y": np.arange(6.0)}
    kept = {d: coordinates[d] for d in ("time", *space)}
    return xr.Dataset({name: (dims, values, {"units": "[red]m/s"})}, kept)


def commands(path):
    return [taker.command for taker in commands_for(inspect(path))]


def test_a_case_takes_its_own_variable_first_and_another_by_name(tmp_path):
    path = tmp_path / "my file.nc"
    fields("u", "x", "y").to_netcdf(path, engine="h5netcdf")
    found = commands(path)
    assert f"impindiff run burgers --set data.path='{path}'" in found
    chosen = f"--set data.path='{path}' --set data.variable=u"
    assert f"impindiff run advection_diffusion_steady {chosen}" in found
    assert found[-1] == f"impindiff run my_model.py --set data.path='{path}'"
    assert not any("burgers_public" in command for command in found)


def test_one_line_of_space_is_for_the_public_case(tmp_path):
    path = tmp_path / "s.csv"
    rows = [f"{x},{t},{x * t + t}" for x in range(5) for t in range(3)]
    path.write_text("\n".join(["x,t,u", *rows]))
    assert commands(path) == [
        f"impindiff run burgers_public --set data.path={path}",
        f"impindiff run my_model.py --set data.path={path}",
    ]


def test_gaps_are_for_a_model_of_ones_own(tmp_path):
    path = tmp_path / "gaps.nc"
    given = fields("phi", "x", "y")
    given["phi"][0, 1, 2, 3] = np.nan
    given.to_netcdf(path, engine="h5netcdf")
    assert len(commands(path)) == 1


def shown(path, width):
    written = io.StringIO()
    console = Console(file=written, width=width)
    description = inspect(path)
    for table in description_tables(description, commands_for(description)):
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


def test_commands_are_never_broken_into_lines(tmp_path):
    path = tmp_path / "f.nc"
    fields("phi", "x", "y").to_netcdf(path, engine="h5netcdf")
    lines = [line.strip() for line in shown(path, 40).splitlines()]
    assert f"impindiff run my_model.py --set data.path={path}" in lines
