"""Creation of a new problem's folder."""

import json
import keyword
import shutil
import sys
import unicodedata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from impindiff.errors import InputError
from impindiff.problem import load_problem, run_script

_PLACEHOLDER, _SUFFIX = "NAME", ".txt"
# names of files written to the folder, or run by pytest
_TAKEN = {"make_data", "conftest"}


def write_problem(name: str, parent: Path, template: str = "field") -> Path:
    """Make `parent`/`name` with a model, its configuration and schema, data and a test.

    - `template`: "field", with an unknown field in two dimensions, or "numbers", with unknown
      numbers in one.

    **Raises:** `InputError` for a name that Python cannot import or that is another module's, and a
    folder that exists.
    """
    plain = name.isidentifier() and unicodedata.normalize("NFKC", name) == name
    if not plain or keyword.iskeyword(name):
        raise InputError(
            f"new: '{name}' cannot be the name of a Python file to import; use letters, digits and "
            f"_, beginning with a letter"
        )
    folder = parent / name
    if name in _TAKEN or name in sys.stdlib_module_names or _is_installed(name, folder):
        raise InputError(
            f"new: '{name}' is the name of a module that is there already, which {name}.py would "
            f"hide from those that import it; choose another name"
        )
    try:
        folder.mkdir()
    except FileExistsError:
        raise InputError(f"new: {folder} is there already; choose another name") from None
    except OSError as error:
        raise InputError(f"new: cannot make {folder}: {error.strerror}") from None
    try:
        _fill(folder, name, template)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _fill(folder: Path, name: str, template: str) -> None:
    for source in files("impindiff.command").joinpath("templates", template).iterdir():
        path = folder / source.name.removesuffix(_SUFFIX).replace(_PLACEHOLDER, name)
        text = source.read_text(encoding="utf-8").replace(_PLACEHOLDER, name)
        path.write_text(text, encoding="utf-8")
    problem = load_problem(folder / f"{name}.py")
    schema = json.dumps(problem.settings.model_json_schema(), indent=2)
    (folder / f"{name}.schema.json").write_text(schema + "\n")
    run_script(folder / "make_data.py")


def _is_installed(name: str, folder: Path) -> bool:
    """True if `import NAME` finds a module other than the folder itself."""
    spec = find_spec(name)
    return spec is not None and (spec.origin is not None or not folder.exists())
