"""What is written reads back as it was, and what is not of the form is refused in one line."""

import json
import math
from pathlib import Path

import pytest

from impindiff import InputError
from impindiff.results import ComparisonResults, RunMetrics
from result_files import run_metrics

STORED = Path(__file__).parents[2] / "docs" / "results"
RUNS = ("demo", "burgers_public", "closure", "dynamic", "thermal")


@pytest.mark.parametrize("name", RUNS)
def test_metrics_without_a_version_are_read_whole(name, tmp_path):
    old = json.loads((STORED / f"{name}.json").read_text())
    found = RunMetrics.read(STORED / f"{name}.json")
    found.write(tmp_path / "metrics.json")
    assert RunMetrics.read(tmp_path / "metrics.json") == found
    new = json.loads((tmp_path / "metrics.json").read_text())
    assert (new["version"], new["problem"]) == (1, old.pop("case"))
    require_kept(old, new)


def test_a_comparison_without_a_version_is_read_whole(tmp_path):
    path = STORED / "comparisons" / "infiltration.json"
    ComparisonResults.read(path).write(tmp_path / "results.json")
    old, new = json.loads(path.read_text()), json.loads((tmp_path / "results.json").read_text())
    assert new["problem"] == old.pop("case")
    require_kept(old, new)


def require_kept(old, new):
    """All that the old content has is in the new."""
    if isinstance(old, dict):
        for key, value in old.items():
            require_kept(value, new[key])
    elif isinstance(old, list):
        for one, other in zip(old, new, strict=True):
            require_kept(one, other)
    else:
        assert old == new


def test_what_is_not_finite_is_none_wherever_it_stands(tmp_path):
    metrics = run_metrics([[0.1, math.inf]], final_loss=math.nan)
    more = {"forecast": {"closure_time_error": math.nan}, "specimens": {"trapped": [math.nan, 1.0]}}
    metrics = metrics.with_sections(more)
    assert metrics.train.final_loss is None
    assert metrics.forecast is not None
    assert metrics.forecast.error_vs_time == [(0.1, None)]
    assert metrics.forecast.others == {}
    assert metrics.others == {"specimens": {"trapped": [None, 1.0]}}
    metrics.write(tmp_path / "metrics.json")
    assert RunMetrics.read(tmp_path / "metrics.json") == metrics


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must be a mapping of keys to values, not a list"),
        ("{}", "problem: is required and has no default"),
        ('{"version": 2}', "version: must be 1, not 2"),
        ('{"problem": 5, "train": []}', "problem: must be text, not 5"),
    ],
)
def test_other_content_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"metrics.json: {message}.*; run the problem again$"):
        RunMetrics.read(path)
    with pytest.raises(InputError, match=r"cannot be read as JSON: .*No such file"):
        RunMetrics.read(tmp_path / "none.json")
