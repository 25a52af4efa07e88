"""A problem from a Python file."""

import importlib.util
import sys
import traceback
from pathlib import Path

from impindiff.errors import ImpindiffError, InputError
from impindiff.problem.problem import Problem

_MODULE = "impindiff_problem_"


def load_problem(path: Path) -> Problem:
    """The one `Problem` that the file defines, named after the file.

    The file's folder can be imported from, as where a script is run.

    Raises `InputError` for a file that is not there, does not run, or defines none or several.
    """
    if not _is_file(path):
        raise InputError(
            f"{path}: there is no such file; 'impindiff new {path.stem}' writes a problem to start "
            f"from"
        )
    name = f"{_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name
    sys.modules[name] = module
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except ImpindiffError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{_where(path, error)}: {_what(error)}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Problem) and value.__module__ == name
    ]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found)
        raise InputError(
            f"{path}: defines {f'{len(found)} problems ({names})' if found else 'no problem'}; "
            f"write one class that inherits from ipd.Problem"
        )
    unwritten = sorted(getattr(found[0], "__abstractmethods__", ()))
    if unwritten:
        raise InputError(f"{path}: {found[0].__name__} lacks {', '.join(unwritten)}; write it")
    problem = found[0]()
    problem.name = path.stem
    return problem


def where_in_problem(error: BaseException) -> str | None:
    """The file, line and function of a user-defined problem in which an error arose, if in one.

    Of the calls that led to the error the innermost in a problem's file counts, or in a module
    beside it; errors in the library below are the problem's too, for it called the library.
    """
    folders = {
        Path(file).resolve().parent
        for name, module in sys.modules.items()
        if name.startswith(_MODULE) and (file := getattr(module, "__file__", None))
    }
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = Path(frame.f_code.co_filename)
        if path.suffix == ".py" and path.resolve().parent in folders:
            return f"{path}, line {line}, in {frame.f_code.co_name}"
    return None


def _where(path: Path, error: BaseException) -> str:
    """The file and line that cannot be run."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}, line {error.lineno or 1}"
    where = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in where if Path(frame.filename).resolve() == path.resolve()]
    return f"{path}, line {lines[-1] if lines else 1}"


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "ends Python (SystemExit); a problem's file only defines a problem, take that out"
    reason = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {reason}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name longer than the system takes, or with a NUL
        return False
