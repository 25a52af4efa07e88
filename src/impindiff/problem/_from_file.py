"""A problem from a Python file."""

import ast
import builtins
import importlib
import importlib.util
import itertools
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from impindiff.errors import (
    PROBLEM_MODULES,
    ImpindiffError,
    InputError,
    Place,
    place_in_problem,
    reason_of,
)
from impindiff.problem._problem import Problem
from impindiff.settings.configuration import load_configuration
from impindiff.settings.sections import ProblemSettings

_number = itertools.count()


def load_problem(path: Path, modules: Path | None = None) -> Problem:
    """Load the one `Problem` that a file defines; it takes the file's name.

    The file imports modules from its folder by name, as a script does. They are private to the
    problem: another problem in the same process may have others of the same names.

    **Arguments:**

    - `modules`: folder to import them from; None: the file's folder.

    **Raises:** `InputError` for a file that does not exist, fails, or defines no or several
    problems.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file; 'impindiff new {path.stem}' writes a problem to start "
            f"from"
        )
    name = f"{_own_package(modules or path.parent, path.stem)}.{path.stem}"
    # dataclasses look their module up by name
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None or path.suffix != ".py":
        raise InputError(f"{path}: is not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with located(path):
        spec.loader.exec_module(module)
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
    if hasattr(found[0], "measurements"):
        raise InputError(f"{path}: {found[0].__name__}.measurements is named data now; rename it")
    with located(path):
        problem = found[0]()
    problem.name = path.stem
    return problem


def configure_problem(
    problem: Problem, files: Sequence[Path], overrides: Sequence[str]
) -> ProblemSettings:
    """Load the settings of a problem; those of a problem from a file then name the file.

    **Raises:** `InputError` as `load_configuration`, and if the settings name another file.
    """
    settings: ProblemSettings = load_configuration(problem.settings, files, overrides)
    file = file_of(problem)
    if file is None:
        return settings
    if settings.problem is not None and Path(settings.problem).resolve() != file.resolve():
        raise InputError(
            f"problem: the configuration is of {settings.problem}, but {file} is run; "
            "leave it out of the configuration, or run that file"
        )
    return settings.model_copy(update={"problem": str(file.absolute())})


def run_script(path: Path) -> None:
    """Run a Python file as a script, with imports from its folder as for a problem."""
    imports = sys.modules[_own_package(path.parent, path.stem)].__dict__["_imports"]
    runpy.run_path(str(path), {"__builtins__": imports}, run_name="__main__")


def own_modules(problem: Problem) -> dict[Path, Path]:
    """The Python files of its folder that the problem needs, by their path in it.

    They are the files imported so far, and those named by import statements anywhere in the problem
    or in these files. Empty for a problem that was not loaded from a file.
    """
    package = type(problem).__module__.rpartition(".")[0]
    if not package.startswith(PROBLEM_MODULES):
        return {}
    folder = Path(sys.modules[package].__path__[0])
    itself = file_of(problem)
    needed = [
        Path(file)
        for name, module in list(sys.modules.items())
        if name.startswith(f"{package}.") and (file := getattr(module, "__file__", None))
    ]
    for file in needed:  # grows during the loop
        for name in _imported(file):
            whole = folder / name
            beside = [whole.with_name(f"{name}.py"), *whole.rglob("*.py")]
            needed += [path for path in beside if path.is_file() and path not in needed]
    return {
        file.relative_to(folder): file
        for file in needed
        if file.is_relative_to(folder) and file != itself
    }


def file_of(problem: Problem) -> Path | None:
    """The file that a problem was loaded from, or None."""
    name = type(problem).__module__
    return Path(str(sys.modules[name].__file__)) if name.startswith(PROBLEM_MODULES) else None


def _imported(file: Path) -> set[str]:
    """The top-level names that a file imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return set()
    names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} - {""}


@contextmanager
def located(default: Path | None = None) -> Iterator[None]:
    """Turn an error raised by a problem's file into one line with file and line number.

    **Arguments:**

    - `default`: the file to name for an error outside such files; None: that error passes
      unchanged, and so do this package's own errors.

    **Raises:** `InputError`.
    """
    try:
        yield
    except ImpindiffError as error:
        if default is None:
            raise
        raise InputError(f"{default}: {error}") from error
    except (Exception, SystemExit) as error:
        place = place_in_problem(error)
        if default is not None:
            if isinstance(error, SyntaxError) and error.filename:
                place = Place(error.filename, error.lineno or 1)
            place = place or Place(str(default), 1)
            if place.file.startswith("<"):  # a source that Python cannot read
                place = place._replace(file=str(default))
        if place is None:
            raise
        raise InputError(f"{place}: {reason_of(error)}") from error


def _own_package(folder: Path, problem: str) -> str:
    """A package of unique name whose modules are those of the folder."""
    name = f"{PROBLEM_MODULES}{next(_number)}"
    package = ModuleType(name)
    package.__path__ = [str(folder.absolute())]
    package.__dict__["_imports"] = _imports(name, problem)
    sys.modules[name] = package
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return name


def _imports(package: str, problem: str) -> dict[str, Any]:
    """The builtins of a problem's modules: `import NAME` looks in the package first."""
    plain = builtins.__import__

    def is_own(name: str) -> bool:
        # a file with the name of a library that it needs must not import itself
        if name == problem or name in sys.builtin_module_names:
            return False
        if f"{package}.{name}" in sys.modules:
            return True
        found = importlib.util.find_spec(f"{package}.{name}")
        if found is None:
            return False
        # a plain folder comes after all packages, as in Python
        return found.origin is not None or importlib.util.find_spec(name) is None

    def find(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        first = name.partition(".")[0]
        if level or not is_own(first):
            return plain(name, globals, locals, fromlist or (), level)
        found = plain(f"{package}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{package}.{first}"]

    return {**vars(builtins), "__import__": find}


class _Loader(SourceFileLoader):
    """Run a module with the imports of its problem."""

    def get_code(self, fullname: str) -> CodeType:
        # no bytecode on disk: it would clutter the run's folder
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        module.__dict__["__builtins__"] = sys.modules[package].__dict__["_imports"]
        super().exec_module(module)


class _Finder:
    """Finder for the modules of problems, and for no others."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a problem's module; see `importlib.abc.MetaPathFinder`."""
        if not name.startswith(PROBLEM_MODULES) or path is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec
