"""Exceptions that reach the user. One line each: what, where, what was expected, what to try."""

import errno

_FULL = {errno.ENOSPC, errno.EDQUOT}


class ImpindiffError(Exception):
    """Base of every error this package raises on purpose."""


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
