"""Exit codes and one-line messages of errors."""

import errno
from typing import NamedTuple

import typer

from impindiff.errors import (
    FailureCode,
    ImpindiffError,
    InputError,
    is_full_disk,
    place_in_problem,
    reason_of,
)

# the cause is the given file or folder, or its permissions
_OF_A_NAME = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM, errno.EROFS,
}  # fmt: skip


class Ending(NamedTuple):
    """End of the command after an error.

    - `exit_code`: 2 for wrong input, 1 for a failed computation.
    - `line`: the message; None for an exit code alone.
    - `code`: the failure code.
    """

    exit_code: int
    line: str | None
    code: FailureCode = FailureCode.other


def ending_of(error: BaseException) -> Ending:
    """The ending for an error."""
    wrong = FailureCode.wrong_input
    if isinstance(error, ImpindiffError):
        return Ending(2 if isinstance(error, InputError) else 1, str(error), error.code)
    if isinstance(error, typer.TyperException):
        line = error.format_message()
        if "unexpected extra argument" in line and "=" in line:
            line += "; write --set before each change: --set KEY=VALUE --set KEY=VALUE"
        return Ending(2, line, wrong)
    if is_full_disk(error):
        where = getattr(error, "filename", None) or "the disk to write to"
        line = f"{where}: no space left; make room and try again"
        return Ending(1, line, FailureCode.full_disk)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        line = "the memory of this machine is used up; try a coarser grid or fewer samples"
        return Ending(1, line, FailureCode.out_of_memory)
    place = place_in_problem(error)
    if place is not None:
        return Ending(2, f"{place}: {reason_of(error)}", wrong)
    if isinstance(error, SystemExit):
        return Ending(error.code if isinstance(error.code, int) else 1, None)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        line = f"{where}{error.strerror or error}"
        if error.errno in _OF_A_NAME:
            return Ending(2, line, wrong)
        return Ending(1, line, FailureCode.not_stored)
    return Ending(
        1,
        f"{reason_of(error)}; this should have been foreseen: please report it, with what "
        "'impindiff --traceback ...' shows",
    )
