"""Figures of methods side by side."""

from typing import Any

import numpy as np

from impindiff.report import Points, method_errors_figure, study_figure

X = np.array([0.1, 0.2, 0.4])
ONE = Points("implicit", X, np.array([[1.0, 2.0, 4.0], [3.0, 4.0, 8.0]]))
BLOWN = Points("explicit", X, np.array([[1.0, 5.0, np.nan]]))
NONE = Points("never ran", X, np.full((1, 3), np.nan))


def curves(ax) -> dict[str, Any]:
    named = {str(line.get_label()): line for line in ax.lines}
    return {name: line for name, line in named.items() if not name.startswith("_")}


def test_a_curve_is_the_mean_over_seeds_and_ends_where_the_forecast_does():
    figure = method_errors_figure([ONE, BLOWN, NONE], {"horizon": 0.2}, "error (%)")
    drawn = curves(figure.axes[0])
    np.testing.assert_allclose(drawn["implicit"].get_ydata(), [2.0, 3.0, 6.0])
    np.testing.assert_allclose(drawn["explicit"].get_xdata(), [0.1, 0.2])
    assert "never ran (none)" in drawn
    band = np.asarray(figure.axes[0].collections[0].get_paths()[0].vertices)
    assert (band[:, 1].min(), band[:, 1].max()) == (1.0, 8.0)


def test_a_mean_ends_with_the_first_of_its_seeds_but_not_for_one_that_never_ran():
    lost = Points("lost", X, np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 8.0]]))
    absent = Points("absent", X, np.array([[1.0, 2.0, 4.0], [np.nan] * 3]))
    drawn = curves(method_errors_figure([lost, absent], {}, "error (%)").axes[0])
    np.testing.assert_allclose(drawn["lost"].get_ydata(), [2.0, 3.0])
    np.testing.assert_allclose(drawn["absent"].get_ydata(), [1.0, 2.0, 4.0])


def test_times_are_marked_by_what_they_are():
    marks = {"horizon": 0.2, "twice the horizon": 0.4}
    figure = method_errors_figure([ONE], marks, "error of the training set (%)")
    assert figure.axes[0].get_ylabel() == "error of the training set (%)"
    assert [t.get_text() for t in figure.axes[0].texts] == ["horizon", "twice the horizon"]


def test_labels_of_times_that_are_close_are_at_different_heights():
    marks = {"end": 0.35, "twice the end": 0.7, "horizon": 0.4, "twice the horizon": 0.8}
    texts = method_errors_figure([ONE], marks, "error (%)").axes[0].texts
    heights = {t.get_text(): t.get_position()[1] for t in texts}
    assert heights["end"] != heights["horizon"]
    assert heights["twice the end"] != heights["twice the horizon"]


def test_a_study_has_its_own_axes():
    ax = study_figure([ONE], "sensors", "error (%)").axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("sensors", "error (%)", "log")


def test_methods_are_told_apart_by_marker_and_line_too():
    many = [Points(str(i), X, ONE.y) for i in range(8)]
    drawn = curves(study_figure(many, "x", "y").axes[0])
    styles = {
        (line.get_color(), line.get_linestyle(), line.get_marker()) for line in drawn.values()
    }
    assert len(styles) == 8
