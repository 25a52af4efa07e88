import numpy as np
import pytest
from matplotlib.image import imread

from impindiff.errors import InputError
from impindiff.report import plot_training_curves, training_curves_figure


def history(scale: float, count: int = 5) -> list[dict]:
    return [
        {"step": i, "seconds": 0.5 * i, "loss": scale * 0.5**i, "test_percent": None}
        for i in range(count)
    ]


def drawn(figure):
    return figure.axes[0].lines


def test_each_seed_is_a_line_in_the_colour_of_its_method():
    histories = {"one": [history(1.0), history(2.0)], "two": [history(3.0)]}
    figure = training_curves_figure(histories)
    lines = drawn(figure)
    assert len(lines) == 3
    for line, scale in zip(lines, (1.0, 2.0, 3.0), strict=True):
        np.testing.assert_allclose(np.asarray(line.get_xdata()), 0.5 * np.arange(5))
        np.testing.assert_allclose(np.asarray(line.get_ydata()), scale * 0.5 ** np.arange(5))
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    assert figure.axes[0].get_yscale() == "log"


def test_many_methods_can_be_told_apart():
    lines = drawn(training_curves_figure({str(i): [history(1.0 + i)] for i in range(20)}))
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(lines) == len(looks) == 20


def test_records_without_a_value_to_draw_are_passed_over():
    records = [
        *history(1.0, 2),
        {"step": 2, "loss": 1.0},
        {"step": 3, "seconds": None, "loss": 1.0},
        {"step": 4, "seconds": 2.0, "loss": None},
        {"step": 5, "seconds": 2.5, "loss": float("nan")},
        {"step": 6, "seconds": 3.0, "loss": 0.0},
        {"step": 7, "seconds": 3.5, "loss": 0.1},
    ]
    (line,) = drawn(training_curves_figure({"one": [records, []]}))
    np.testing.assert_allclose(np.asarray(line.get_xdata()), [0.0, 0.5, 3.5])


def test_a_run_that_failed_at_once_is_a_point():
    (line,) = drawn(training_curves_figure({"one": [history(1.0, 1)]}))
    assert line.get_marker() == "o"


def test_nothing_to_draw_is_an_empty_figure(tmp_path):
    path = tmp_path / "f.png"
    plot_training_curves({"one": [history(1.0)]}, path, key="test_percent", value_label="error")
    assert imread(path).shape[0] > 300
    with pytest.raises(InputError, match="no folder"):
        plot_training_curves({}, tmp_path / "absent" / "f.png")
