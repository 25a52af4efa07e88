"""Which folder a run goes to."""

import pytest

from impindiff import InputError, run_directory


def test_no_run_touches_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("case", "case-2", "case-3"):
        folder = run_directory.choose("case", None, resume=False)
        assert folder.name == name
        folder.mkdir(parents=True)
    assert run_directory.choose("case", None, resume=True).name == "case-3"
    with pytest.raises(InputError, match="no run"):
        run_directory.choose("other", None, resume=True)


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    run_directory.write_json(tmp_path / "m.json", {"a": [1.5, float("nan")], "b": float("inf")})
    assert (tmp_path / "m.json").read_text().split() == list(
        ["{", '"a":', "[", "1.5,", "null", "],", '"b":', "null", "}"]
    )
