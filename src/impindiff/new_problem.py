"""A problem to start from, written into a folder of its own."""

import json
import keyword
import shutil
from importlib.resources import files
from pathlib import Path

from impindiff.errors import InputError
from impindiff.problem import load_problem, run_script

_PLACEHOLDER, _SUFFIX = "NAME", ".txt"


def write_problem(name: str, parent: Path) -> Path:
    """Make `parent`/`name` with a model, its configuration and schema, data and a test.

    Raises `InputError` for a name that Python cannot import, and a folder that is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(
            f"new: '{name}' cannot be the name of a Python file to import; use letters, digits and "
            f"_, beginning with a letter"
        )
    folder = parent / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise InputError(f"new: {folder} is there already; choose another name") from None
    except OSError as error:
        raise InputError(f"new: cannot make {folder}: {error.strerror}") from None
    try:
        _fill(folder, name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _fill(folder: Path, name: str) -> None:
    for template in files("impindiff").joinpath("templates", "problem").iterdir():
        path = folder / template.name.removesuffix(_SUFFIX).replace(_PLACEHOLDER, name)
        path.write_text(template.read_text().replace(_PLACEHOLDER, name))
    problem = load_problem(folder / f"{name}.py")
    schema = json.dumps(problem.settings.model_json_schema(), indent=2)
    (folder / f"{name}.schema.json").write_text(schema + "\n")
    run_script(folder / "make_data.py")
