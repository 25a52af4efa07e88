"""Exceptions for users. One line each: cause, place, allowed values, remedy."""

import enum
import errno
import traceback
import unicodedata
from typing import NamedTuple

PROBLEM_MODULES = "impindiff_problem_"
"""How the names of modules begin that were loaded from a problem's file."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
# control characters, direction overrides, surrogates, line ends
_NOT_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: object) -> str:
    r"""Text that is safe to print on one line, with control characters as escapes.

    Text from a file, a key or a name may otherwise move a terminal's cursor, change its colours, or
    end the line: a line feed becomes the two characters `\n`.
    """
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _NOT_SHOWN else c for c in str(text))


class FailureCode(enum.StrEnum):
    """Reasons of a failure, for programs; messages are for people, and may change.

    Members from `max_iterations` to `times_decrease` are an `Outcome` of a solve.
    """

    wrong_input = enum.auto()
    """A configuration key, a file, a shape or a value."""
    max_iterations = enum.auto()
    linear_failure = enum.auto()
    linear_breakdown = enum.auto()
    stagnated = enum.auto()
    diverged = enum.auto()
    step_limit = enum.auto()
    ill_posed = enum.auto()
    not_unique = enum.auto()
    """A steady state of which there are many, or none."""
    not_finite = enum.auto()
    """A state, a loss or a gradient is NaN or infinite."""
    times_decrease = enum.auto()
    optimizer_stopped = enum.auto()
    """An optimisation method cannot go on."""
    out_of_memory = enum.auto()
    full_disk = enum.auto()
    not_stored = enum.auto()
    """A file cannot be written, for another reason than a full disk."""
    process_lost = enum.auto()
    """Another of several processes has ended."""
    killed = enum.auto()
    """The process was ended by a signal."""
    timed_out = enum.auto()
    other = enum.auto()


class ImpindiffError(Exception):
    """Base of every error that this package raises on purpose: one line, see `printable`.

    - `code`: the reason, a `FailureCode`.
    """

    code: FailureCode = FailureCode.other

    def __init__(self, message: object = "", *, code: FailureCode | None = None):
        super().__init__(printable(message))
        if code is not None:
            self.code = code


class InputError(ImpindiffError, ValueError):
    """Invalid input of the user: a configuration key, a file, a shape, a value.

    The command prints it as one line and ends with exit code 2.
    """

    code = FailureCode.wrong_input


class SolverError(ImpindiffError, RuntimeError):
    """A solve did not converge; the message names the step, time, sample, field and residual.

    Its `code` is the name of the solve's `Outcome`.
    """


def is_full_disk(error: BaseException) -> bool:
    """True if a full disk prevented a write.

    Orbax and HDF5 quote the operating system's error as text in their own.
    """
    return getattr(error, "errno", None) in _FULL or "No space left" in str(error)


class Place(NamedTuple):
    """A line of a user's file."""

    file: str
    line: int
    function: str = "<module>"

    def __str__(self) -> str:
        inside = "" if self.function == "<module>" else f", in {self.function}"
        return f"{self.file}, line {self.line}{inside}"


def place_in_problem(error: BaseException) -> Place | None:
    """The innermost line of a user-defined problem's modules that led to an error, if any."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").startswith(PROBLEM_MODULES):
            return Place(frame.f_code.co_filename, line, frame.f_code.co_name)
    return None


def reason_of(error: BaseException) -> str:
    """The kind of an error and its text, on one line of bounded length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
