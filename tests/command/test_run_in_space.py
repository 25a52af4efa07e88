"""A problem in three dimensions through the command: run, forecast, report."""

import json

import pytest
import xarray as xr
from running import CASE, impindiff, settings

pytestmark = pytest.mark.slow  # whole runs of the command


def test_three_cell_counts_give_a_whole_run(tmp_path):
    folder = tmp_path / "run"
    small = settings(
        stepper__name="crank_nicolson",
        grid__cells="[8, 6, 4]",
        truth__training_samples=1,
        truth__test_samples=1,
        training__steps=2,
    )
    impindiff("run", CASE, *small, "--out", folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["latent"]["relative_l1_percent"]
    assert set(found) == {"velocity_x", "velocity_y", "velocity_z"}
    figures = {p.stem for p in (folder / "figures").iterdir()}
    planes = ("forecast_test", "forecast_train", "velocity")
    assert figures == {
        "error_vs_time",
        "history",
        *(f"{name}_across_{axis}" for name in planes for axis in "xyz"),
    }
    film = tmp_path / "f.gif"
    longer = tmp_path / "longer.nc"
    impindiff("forecast", folder, "--until", "0.25", "--out", longer, "--animate", film)
    assert film.read_bytes().startswith(b"GIF")
    with xr.open_dataset(longer, engine="h5netcdf") as forecast:
        sizes = {"sample": 2, "time": 6, "x": 8, "y": 6, "z": 4}
        assert forecast["phi_forecast"].sizes == sizes
        assert forecast["phi_truth"].sizes == sizes
    impindiff("report", folder)
    page = (folder / "report.html").read_text()
    assert "Forecast in motion" in page
    assert "the middle plane across y" in page
