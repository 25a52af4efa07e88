"""`impindiff list` on a narrow terminal: a name that is cut cannot be typed."""

from running import impindiff

from impindiff.problems import PROBLEMS


def test_every_problem_is_named_in_full():
    words = impindiff("list").stdout.split()
    for problem in PROBLEMS.values():
        assert problem.name in words
        assert set(problem.infers.split()) <= set(words)
