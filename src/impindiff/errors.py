"""Exceptions that reach the user. One line each: what, where, what was expected, what to try."""

import errno
import traceback
import unicodedata
from typing import NamedTuple

PROBLEM_MODULES = "impindiff_problem_"
"""How the names of modules begin that were loaded from a problem's file."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
# Control characters, direction overrides, halves of characters, ends of lines.
_NOT_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: object) -> str:
    r"""Text that is safe to print on one line: control characters are written as escapes.

    What a file, a key or a name holds may otherwise move a terminal's cursor, change its colours,
    or end the line: a line feed becomes the two characters `\n`.
    """
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _NOT_SHOWN else c for c in str(text))


class ImpindiffError(Exception):
    """Base of every error this package raises on purpose: one line, see `printable`."""

    def __init__(self, message: object = "", *more: object):
        super().__init__(printable(message), *more)


class InputError(ImpindiffError, ValueError):
    """Something the user gave is wrong: a configuration key, a file, a shape, a value.

    The command prints it as one line and ends with exit code 2.
    """


class SolverError(ImpindiffError, RuntimeError):
    """A solve did not converge; the message names the step, time, sample, field and residual."""


def is_full_disk(error: BaseException) -> bool:
    """Whether that is why something could not be written.

    Orbax and HDF5 give the operating system's error as text in one of their own.
    """
    return getattr(error, "errno", None) in _FULL or "No space left" in str(error)


class Place(NamedTuple):
    """A line of a file that a user wrote."""

    file: str
    line: int
    function: str = "<module>"

    def __str__(self) -> str:
        inside = "" if self.function == "<module>" else f", in {self.function}"
        return f"{self.file}, line {self.line}{inside}"


def place_in_problem(error: BaseException) -> Place | None:
    """The innermost line of a user-defined problem's modules that led to an error, if one did."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").startswith(PROBLEM_MODULES):
            return Place(frame.f_code.co_filename, line, frame.f_code.co_name)
    return None


def reason_of(error: BaseException) -> str:
    """The kind of an error and its text, on one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
