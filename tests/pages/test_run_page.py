"""What the page of a run says, and what it refuses."""

import base64
import io
import re
from importlib.resources import files

import pytest
from page_folders import CASE, METRICS, forecast, run_folder
from PIL import Image

from forked_command import run_command
from impindiff import InputError
from impindiff.pages import _pictures as pictures
from impindiff.pages import write_report
from impindiff.pages._words import caption

SPACE = "\N{NO-BREAK SPACE}"


def cells(html: str) -> dict[str, list[str]]:
    """The texts of each row of each table, by the row's head."""
    rows = re.findall(r'<tr>\s*<th scope="row">(.*?)</th>(.*?)</tr>', html, re.DOTALL)
    return {head: re.findall(r"<td[^>]*>(.*?)</td>", rest, re.DOTALL) for head, rest in rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("pages") / "run")


@pytest.fixture(scope="module")
def html(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_numbers_of_the_run_are_there(html):
    rows = cells(html)
    assert rows["relative L1 error at t = 0.2"] == [f"0.238{SPACE}%", f"0.302{SPACE}%"]
    assert rows["velocity, x"] == [f"2.30{SPACE}%"]
    assert rows["ν"] == [
        "(3.182660 ± 0.000050) × 10⁻³",
        "0.00318310",
        f"−0.0138{SPACE}%",
    ]
    assert rows["linear iterations a step, mean"] == ["6.43"]
    assert rows["largest relative residual of the gradient"] == ["8.10 × 10⁻⁹"]
    assert rows["time of training"] == [f"62.1{SPACE}min"]
    assert rows["final loss"] == ["1.13 × 10⁻⁶"]
    assert rows["peak memory"] == [f"936{SPACE}MB"]
    assert rows["balance: largest imbalance"] == ["2.50 × 10⁻¹²"]
    assert rows["impindiff"] == ["0.1.0"]


@pytest.mark.slow
def test_one_sentence_sums_it_up(html):
    summary = re.search(r'<p class="summary">(.*?)</p>', html)
    assert summary is not None
    assert summary[1] == (
        "This run infers the velocity field, from snapshots of the concentration; its forecast of "
        f"the test samples is off by 0.302{SPACE}% at t = 0.2 (relative L1 norm), after 1250 "
        f"training steps in 62.1{SPACE}min."
    )


@pytest.mark.slow
def test_figures_are_in_the_order_of_reading_with_what_they_show(html, folder):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert captions == [
        "Sample 2, that training did not see, from t = 0 to 0.2.",
        "Truth, forecast and error of a sample that training did not see.",
        "Training loss, and test error if there is one, over the training steps.",
        "My own curve.",
    ]
    images = re.findall(r'<img src="data:image/(png|gif);base64,([^"]*)" alt="([^"]+)"', html)
    assert [kind for kind, _, _ in images] == ["gif", "png", "png", "png"]
    test = (folder / "figures" / "forecast_test.png").read_bytes()
    assert base64.b64decode(images[1][1]) == test


@pytest.mark.slow
def test_the_film_plays_and_has_a_still_for_who_wants_no_motion(html):
    source = re.search(r'<img src="data:image/gif;base64,([^"]*)"', html)
    still = re.search(
        r'<source media="\(prefers-reduced-motion: reduce\), print" srcset="data:image/png;base64,'
        r'([^"]*)"',
        html,
    )
    assert source is not None
    assert still is not None
    film = Image.open(io.BytesIO(base64.b64decode(source[1])))
    assert getattr(film, "n_frames", 1) == 5
    assert film.info["duration"] == 200  # so few frames are shown slowly
    assert Image.open(io.BytesIO(base64.b64decode(still[1]))).size == film.size


@pytest.mark.slow
def test_a_film_that_would_be_large_leaves_out_times(monkeypatch):
    whole = pictures.film(forecast(9), None)
    assert whole is not None
    size = len(base64.b64decode(whole.source.split(",")[1]))
    monkeypatch.setattr(pictures, "_MOST_BYTES", size - 1)
    thinned = pictures.film(forecast(9), None)
    assert thinned is not None
    film = Image.open(io.BytesIO(base64.b64decode(thinned.source.split(",")[1])))
    assert getattr(film, "n_frames", 1) == 5
    assert thinned.caption == whole.caption  # from the first time to the last


@pytest.mark.slow
def test_an_only_sample_is_not_numbered():
    assert pictures.film(forecast().isel(sample=[1]), None).caption == "From t = 0 to 0.2."


def test_it_says_how_to_repeat_the_run(html, folder):
    assert f"<code>impindiff run {CASE} --config config.yaml</code>" in html
    assert (folder / "config.yaml").read_text().rstrip() in html


def test_the_page_needs_nothing_else(html):
    assert not re.findall(r"(?:src|href|srcset)=\"(?!data:|#)", html)
    assert "url(" not in html
    assert "<script" not in html


@pytest.mark.slow
def test_what_the_metrics_do_not_have_is_left_out(tmp_path):
    errors = {"relative_l1_percent": {"train": 0.5}, "error_vs_time": [[0.1, 0.7], [0.2, 0.5]]}
    changes = {"forecast": errors, "latent": None, "balance": {"of": {"c": None}}}
    folder = run_folder(tmp_path / "run", **changes, identified={}, summary="")
    (folder / "forecast.nc").unlink()
    for figure in (folder / "figures").iterdir():
        figure.unlink()
    html = write_report(folder, tmp_path / "page.html").read_text(encoding="utf-8")
    rows = cells(html)
    assert rows["relative L1 error at t = 0.2"] == [f"0.500{SPACE}%"]
    assert rows["largest relative L1 error, at t = 0.1"] == [f"0.700{SPACE}%"]
    assert "forecast of the training samples is off by" in html
    for absent in ("<img", "Numbers that were found", "Other results", "test samples"):
        assert absent not in html


@pytest.mark.slow
def test_a_run_without_a_truth_tells_what_it_estimates_and_how_it_fits(tmp_path):
    misfit = {"rms": 0.1, "relative_percent": 3.0, "in_standard_deviations": None, "values": 4}
    known = {"value": 0.5057, "standard_error": 0.0119}
    changes = {"forecast": None, "latent": None, "infers": None}
    changes |= {"misfit": {"train": {"c": misfit}}, "identified": {"D": known, "k": known}}
    folder = run_folder(tmp_path / "run", **changes)
    html = write_report(folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "This run estimates D and k, after 1250 training steps in" in html
    assert cells(html)["D"][0] == "0.506 ± 0.012"
    assert cells(html)["c, training"][2] == "-"
    assert "No standard deviation is stated" in html
    folder = run_folder(tmp_path / "other", **changes | {"identified": {}})
    html = write_report(folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "This run fits a model to data, after 1250 training steps in" in html
    assert caption("agreement", {}) == "Predicted against measured values; on the line they agree."
    assert caption("forecast", {}) == "The forecast at several times."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), "not ended; continue it with 'impindiff run"),
        (lambda run: (run / "config.yaml").unlink(), "is not the folder of a run"),
        (lambda run: (run / "metrics.json").write_text("{"), "metrics.json: cannot be read as J"),
        (lambda run: (run / "metrics.json").write_text("{}"), r"\.json: problem: is required"),
        (lambda run: (run / "forecast.nc").write_text("no"), "forecast.nc: cannot be read"),
        (
            lambda run: forecast().drop_vars("test").to_netcdf(run / "forecast.nc"),
            "forecast.nc: has no coordinate 'test', so an earlier version made it; run again",
        ),
        (lambda run: (run / "figures" / "a.png").write_text("no"), "a.png: is not a PNG image"),
    ],
    ids=["unfinished", "no run", "no JSON", "other JSON", "no NetCDF", "old forecast", "no image"],
)
def test_what_cannot_be_read_is_named_and_nothing_is_written(tmp_path, spoil, message):
    folder = run_folder(tmp_path / "run")
    spoil(folder)
    with pytest.raises(InputError, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_places_that_cannot_be_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match="make it first"):
        write_report(folder, tmp_path / "nowhere" / "page.html")


@pytest.mark.slow
def test_the_command_prints_where_the_page_is(folder, tmp_path):
    def command(*arguments):
        return run_command(["report", *arguments])

    out = tmp_path / "page [1].html"
    done = command(folder, "--out", out)
    assert (done.returncode, done.stdout.strip()) == (0, str(out)), done.stderr
    assert METRICS["versions"]["python"] in out.read_text(encoding="utf-8")
    refused = command(tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("impindiff: ")
    assert len(refused.stderr.splitlines()) == 1


def test_templates_come_with_the_package():
    templates = files("impindiff.pages") / "templates"
    names = {file.name for file in templates.iterdir()}
    assert names >= {"page.html", "blocks.html", "style.css"}


def test_a_problem_has_words_for_its_figures():
    labels = {"slope.png": "The slope over time", "slope": "slope of the dune"}
    assert caption("slope", labels) == "The slope over time."
    assert caption("slope_across_z", labels) == "The slope over time (the middle plane across z)."
    assert caption("slope", {"slope": "slope of the dune"}) == "Slope of the dune."
    assert caption("history", labels).startswith("Training loss")
