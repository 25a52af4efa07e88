"""The text of an error is one line that leaves a terminal as it is."""

import pickle
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from impindiff.errors import FailureCode, ImpindiffError, InputError, SolverError, printable
from impindiff.implicit import Outcome


@settings(derandomize=True, database=None, deadline=None)
@given(st.text(st.characters(), max_size=20))
def test_text_that_is_printed_has_no_control_characters(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not {"Cc", "Cf", "Cs"} & {unicodedata.category(c) for c in shown}
    assert shown == printable(shown)
    shown.encode()


def test_other_text_is_left_as_it_is():
    for text in ("", "a b", "Größe 5 µm, Δt → 0, 温度", "[/x] 'q' \\ \"z\""):
        assert printable(text) == text
    assert printable("a\nb\x1b[31m\ud800\u202e") == r"a\nb\x1b[31m\ud800\u202e"


def test_errors_are_one_line_and_survive_pickling():
    for kind in (ImpindiffError, InputError, SolverError):
        error = kind("a\nb \x1b]0;title\x07")
        assert str(error) == r"a\nb \x1b]0;title\x07"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert str(kind()) == ""


def test_errors_have_a_code_which_survives_pickling():
    assert InputError("x").code == "wrong_input"
    assert SolverError("x").code == "other"
    error = SolverError("x", code=FailureCode.stagnated)
    assert pickle.loads(pickle.dumps(error)).code == "stagnated"


def test_every_way_in_which_a_solve_fails_is_a_code():
    """Equinox lists the members of an enumeration by their messages."""
    outcomes = [code for code in FailureCode if hasattr(Outcome, code.name)]
    assert len(outcomes) == len(Outcome) - 1  # converged is no failure
