"""Figures of what was inferred and predicted: closures, instruments, sweeps, identifiability."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from impindiff.errors import InputError
from impindiff.inference import identifiability
from impindiff.problem.findings import ClosureCurve, Series
from impindiff.report import (
    closure_figure,
    identifiability_figure,
    save,
    series_figure,
    sweep_figure,
)

X = np.linspace(0.05, 0.6, 30)
T = np.linspace(0.0, 70.0, 15)
PHI2 = np.array([3.0, 0.1, 1.0, 10.0])
CLOSURE = ClosureCurve(
    "diffusivity", "porosity", X, X**2, X**1.9, X, (0.1, 0.5), 2.34, 0.01 + 0 * X
)
GAIN = Series("part", T, 40 * T / 70, 41 * T / 70, T[3:9], T[3:9] / 2 + 1, 0.5)


def curve(ax: Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in ax.lines if line.get_label() == name]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def labels(figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def spans(ax: Axes) -> list[tuple[float, float]]:
    return [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches if isinstance(p, Rectangle)]


def test_a_closure_is_drawn_against_truth_and_prior_where_the_data_were():
    bare = ClosureCurve("conductivity (W/(m K))", "porosity", X, 1 - X)
    figure = closure_figure([CLOSURE, bare])
    left, right = figure.axes
    for name, values in (("learned", X**2), ("truth", X**1.9), ("prior", X)):
        np.testing.assert_array_equal(curve(left, name), (X, values))
    np.testing.assert_allclose(spans(left), [(0.1, 0.5)])
    (band,) = left.collections
    np.testing.assert_allclose(band.get_datalim(left.transData).y1, 0.38)
    assert left.get_title() == "relative L2 error 2.3 % where visited"
    assert (left.get_xlabel(), right.get_ylabel()) == ("porosity", "conductivity (W/(m K))")
    assert (len(right.lines), spans(right), right.get_title()) == (1, [], "")
    assert set(labels(figure)) == {
        "learned",
        "truth",
        "prior",
        "visited in training",
        "± 2 standard deviations",
    }


def test_instruments_are_drawn_predicted_true_and_measured():
    heat = [Series(f"thermocouple {i}", T, 1300.0 + i + 0 * T) for i in range(3)]
    figure = series_figure({"mass gain (%)": [GAIN], "temperature (K)": heat}, "time (h)", 50.0)
    gain, temperature = figure.axes
    np.testing.assert_array_equal(gain.lines[0].get_ydata(), GAIN.predicted)
    np.testing.assert_array_equal(gain.lines[1].get_ydata(), GAIN.truth)
    (points,) = [c for c in gain.containers if isinstance(c, ErrorbarContainer)]
    np.testing.assert_array_equal(points.lines[0].get_ydata(), GAIN.measured)
    below, above = points.lines[2][0].get_segments()[0]
    np.testing.assert_allclose((below, above), [(T[3], T[3] / 2 + 0.5), (T[3], T[3] / 2 + 1.5)])
    assert spans(gain) == spans(temperature) == [(0.0, 50.0)]
    assert (gain.get_xlabel(), gain.get_ylabel()) == ("time (h)", "mass gain (%)")
    assert gain.get_legend() is None
    named = temperature.get_legend()
    assert named is not None
    assert [t.get_text() for t in named.get_texts()] == [s.label for s in heat]
    *curves, until = temperature.lines
    assert len({line.get_color() for line in curves}) == 3
    np.testing.assert_allclose(np.asarray(until.get_xdata()), 50.0)
    assert labels(figure) == [
        "predicted",
        "truth",
        "measured ± standard deviation",
        "seen by training",
    ]
    assert labels(series_figure({"heat (K)": heat})) == ["predicted"]


def test_a_sweep_is_in_order_and_states_its_largest_error():
    truth = 0.1 + 0.01 * PHI2
    predicted = truth + np.array([0.001, 0.002, -0.004, 0.0])
    figure = sweep_figure(PHI2, predicted, truth, "phi²", "trapped porosity", trained_x=(0.3, 3.0))
    (ax,) = figure.axes
    order = np.array([1, 2, 0, 3])
    np.testing.assert_array_equal(curve(ax, "predicted"), (PHI2[order], predicted[order]))
    np.testing.assert_array_equal(curve(ax, "truth"), (PHI2[order], truth[order]))
    assert curve(ax, "specimens seen by training")[0][0] == 0.3
    assert ax.get_title() == "largest error 0.004, at phi² = 1"
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "phi²")
    linear = sweep_figure(PHI2 - 1, predicted, None, "x", "y", log_x=False).axes[0]
    assert (linear.get_xscale(), linear.get_title()) == ("linear", "")


def test_identifiability_shows_correlations_and_the_weakest_direction():
    jacobian = np.eye(6)[:, :4]
    jacobian[:, 3] = jacobian[:, 0] + 0.01 * jacobian[:, 3]
    jacobian[:, 1] = 0
    found = identifiability(jacobian, ["gamma", "beta", "alpha", "prefactor"])
    figure = identifiability_figure(found)
    left, right, _ = figure.axes
    assert figure.get_suptitle() == found.weakest()
    assert [t.get_text() for t in left.get_xticklabels()] == list(found.names)
    texts = np.reshape([t.get_text() for t in left.texts], (4, 4))
    np.testing.assert_array_equal(texts[0], ["1.00", "-", "0.00", "-1.00"])
    np.testing.assert_array_equal(texts[1], ["-"] * 4)
    heights = [bar.get_height() for bar in right.patches if isinstance(bar, Rectangle)]
    np.testing.assert_allclose(heights, found.singular_values)
    assert right.get_yscale() == "log"
    note = right.texts[-1].get_text().split("\n")
    assert note[0] == "weakest direction:"
    assert sorted(note[1:]) == ["gamma 50 %", "prefactor 50 %"]


def test_what_cannot_be_told_at_all_is_a_bar_of_zero():
    found = identifiability(np.ones((4, 2)), ["k", "C0"])
    right = identifiability_figure(found).axes[1]
    assert [t.get_text() for t in right.texts[:2]] == ["1.4", "0"]
    many = identifiability(np.random.default_rng(0).random((40, 15)), [f"p{i}" for i in range(15)])
    assert identifiability_figure(many).axes[0].texts[:] == []
    with pytest.raises(InputError, match="nothing to draw, not seen by the data: k and C0"):
        identifiability_figure(identifiability(np.zeros((4, 2)), ["k", "C0"]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"'d': truth has shape \(3,\), its argument \(30,\)"):
        ClosureCurve("d", "porosity", X, X, truth=np.zeros(3))
    with pytest.raises(InputError, match=r"visited range is \(0.5, 0.1\)"):
        ClosureCurve("d", "porosity", X, X, visited=(0.5, 0.1))
    with pytest.raises(InputError, match=r"'part': measured has shape \(5,\), its times \(0,\)"):
        Series("part", T, T, measured=np.zeros(5))
    with pytest.raises(InputError, match=r"'part': predicted has shape \(2,\)"):
        Series("part", T, T[:2])
    with pytest.raises(InputError, match=r"sweep: truth has shape \(3,\), the parameter \(4,\)"):
        sweep_figure(PHI2, PHI2, PHI2[:3], "phi²", "porosity")
    with pytest.raises(InputError, match=r"phi² is -1 at one point, and a logarithmic"):
        sweep_figure(PHI2, PHI2, None, "phi²", "porosity", trained_x=(-1.0,))
    with pytest.raises(InputError, match="no curve"):
        closure_figure([])
    with pytest.raises(InputError, match="a panel without series"):
        series_figure({"mass": []})


@pytest.mark.slow
def test_every_figure_is_written(tmp_path):
    save(closure_figure([CLOSURE]), tmp_path / "closure.png")
    save(series_figure({"mass gain (%)": [GAIN]}, "time (h)", 50.0), tmp_path / "series.png")
    save(sweep_figure(PHI2, PHI2, PHI2, "phi²", "porosity"), tmp_path / "sweep.png")
    save(
        identifiability_figure(identifiability(np.eye(3), "abc")), tmp_path / "identifiability.png"
    )
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    for file in files:
        pixels = imread(file)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.05
