"""`impindiff list` on a narrow terminal: a name that is cut cannot be typed."""

from running import impindiff

from impindiff.cases import CASES


def test_every_case_is_named_in_full():
    words = impindiff("list").stdout.split()
    for case in CASES.values():
        assert case.name in words
        assert set(case.infers.split()) <= set(words)
