"""`impindiff fetch`: a line where the files are and how to cite them, or one line of error."""

import pytest
from running import impindiff

from impindiff.data import public_data_sets


@pytest.mark.slow
def test_every_set_is_listed():
    words = impindiff("fetch", "--list").stdout.split()
    for known in public_data_sets().values():
        assert {known.name, known.licence, *known.about.split()} <= set(words)


@pytest.mark.slow
def test_a_set_in_the_cache(public_data):
    folder = public_data("scratch_assay")
    done = impindiff("fetch", "scratch_assay")
    assert done.stdout.startswith(f"{folder}: 6 files, MIT, from https://github.com/DanielVandH/")
    assert "cite: Jin et al." in done.stdout


def test_wrong_words():
    for words, part in (
        (["scratch"], "expected one of scratch_assay"),
        ([], "--list"),
        (["scratch_assay", "--list"], "--list"),
    ):
        done = impindiff("fetch", *words, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert part in done.stderr
