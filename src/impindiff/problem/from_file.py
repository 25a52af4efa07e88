"""A problem from a Python file."""

import importlib.util
import sys
import traceback
from pathlib import Path

from impindiff.errors import ImpindiffError, InputError
from impindiff.problem.problem import Problem


def load_problem(path: Path) -> Problem:
    """The one `Problem` that the file defines, named after the file.

    The file's folder can be imported from, as where a script is run.

    Raises `InputError` for a file that is not there, does not run, or defines none or several.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file; 'impindiff new {path.stem}' writes a problem to start "
            f"from"
        )
    name = f"impindiff_problem_{path.stem}"
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
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        lines = [
            frame.lineno for frame in where if Path(frame.filename).resolve() == path.resolve()
        ]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        reason = " ".join(str(error).split())
        raise InputError(f"{path}, line {line}: {type(error).__name__}: {reason}") from error
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
