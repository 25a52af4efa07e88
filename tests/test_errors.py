"""The text of an error is one line that leaves a terminal as it is."""

import pickle
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from impindiff.errors import ImpindiffError, InputError, SolverError, printable


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
