"""Every error of the command as one line and an exit code."""

import errno

import typer

from impindiff.errors import (
    ImpindiffError,
    InputError,
    is_full_disk,
    place_in_problem,
    reason_of,
)

# What is wrong is the file or folder that was named, or who may do what there.
_OF_A_NAME = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM, errno.EROFS,
}  # fmt: skip


def in_one_line(error: BaseException) -> tuple[int, str | None]:
    """(exit code, line) of an error: 2 for wrong input, 1 for a computation that failed.

    The line is None where the error asks for an exit code and nothing else.
    """
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, ImpindiffError):
        return 1, str(error)
    if isinstance(error, typer.TyperException):
        return 2, error.format_message()
    if is_full_disk(error):
        where = getattr(error, "filename", None) or "the disk to write to"
        return 1, f"{where}: no space left; make room and try again"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return 1, "the memory of this machine is used up; try a coarser grid or fewer samples"
    place = place_in_problem(error)
    if place is not None:
        return 2, f"{place}: {reason_of(error)}"
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else 1), None
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return (2 if error.errno in _OF_A_NAME else 1), f"{where}{error.strerror or error}"
    return 1, (
        f"{reason_of(error)}; this should have been foreseen: please report it, with what "
        "'impindiff --traceback ...' shows"
    )
