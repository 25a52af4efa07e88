"""Training on a file of one's own, from end to end."""

import json
import sys

import pytest
import xarray as xr
from running import CASE, impindiff, settings

from impindiff.command import cli
from impindiff.data import _opening as opening
from impindiff.pages._run import run_page


@pytest.mark.slow
def test_a_file_of_ones_own_without_truth(tmp_path, monkeypatch):
    """A real-looking file: other sizes, uneven times, float32, units, no true velocity.

    It is read once by the run, once by the forecast, and not by the page.
    """
    opened, format_of = [], opening._format_of

    def here(*arguments):
        monkeypatch.setattr(sys, "argv", ["impindiff", *map(str, arguments)])
        cli.main()

    def counting(path):
        opened.append(path)
        return format_of(path)

    reference = tmp_path / "reference.nc"
    impindiff("data", CASE, "--out", reference, *settings(truth__training_samples=3))
    with xr.open_dataset(reference, engine="h5netcdf") as dataset:
        own = dataset.drop_vars(["velocity_x", "velocity_y"]).isel(time=[0, 1, 2, 4])
        own = own.rename(phi="dye").astype("float32").transpose("time", "x", "y", "sample")
        own["dye"].attrs = {"long_name": "dye concentration", "units": "mg/l"}
        own["x"].attrs["units"] = own["y"].attrs["units"] = "m"
        own.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    folder = tmp_path / "run"
    no_truth = dict.fromkeys(("truth__dt", "truth__training_samples", "truth__test_samples"))
    own_settings = settings(
        data__path=tmp_path / "own.nc",
        data__variables="{dye: phi}",
        data__test="[1, 4]",
        **no_truth,
    )
    monkeypatch.setattr(opening, "_format_of", counting)
    here("run", CASE, *own_settings, "--out", folder)
    assert opened.count(tmp_path / "own.nc") == 1
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["latent"] is None
    assert set(metrics["forecast"]["relative_l1_percent"]) == {"test", "train"}
    assert [t for t, _ in metrics["forecast"]["error_vs_time"]] == pytest.approx(
        [0, 0.05, 0.1, 0.2]
    )
    with xr.open_dataset(folder / "forecast.nc", engine="h5netcdf") as forecast:
        assert forecast["phi_forecast"].attrs["units"] == "mg/l"
        assert forecast["test"].to_numpy().tolist() == [False, True, False, False, True]
    assert not (folder / "data.nc").exists()
    here("forecast", folder, "--until", "0.3", "--out", tmp_path / "f.nc")
    assert opened.count(tmp_path / "own.nc") == 2
    (folder / "forecast.nc").unlink()  # no animation
    run_page(folder)
    assert opened.count(tmp_path / "own.nc") == 2
