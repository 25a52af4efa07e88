"""The folder of a run: which one, and what is read back from it."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
from pydantic import ConfigDict

from impindiff.cases import Case, dump_yaml, get_case, load_configuration
from impindiff.cases.configuration import StrictModel
from impindiff.cases.settings import RunSettings
from impindiff.ensembles import as_configured
from impindiff.errors import InputError
from impindiff.observations import Trajectories, written_whole
from impindiff.problem import Problem, load_problem

CONFIGURATION = "config.yaml"
MODEL = "model.eqx"
DATA = "data.nc"
PROBLEM = "problem.py"
_DEFAULT_ROOT = Path("runs")

M = TypeVar("M", bound=eqx.Module)


class _What(StrictModel):
    model_config = ConfigDict(extra="ignore")

    case: str | None = None
    problem: Path | None = None


def choose(case: str, out: Path | None, *, resume: bool) -> Path:
    """The folder to run in.

    Without `out`: runs/CASE, or runs/CASE-2, ... so that no earlier run is touched; with `resume`
    the latest of these. Raises `InputError` for an `out` that holds something already, and for
    nothing to resume.
    """
    if out is None:
        taken = [folder for folder in _numbered(case) if folder.exists()]
        if not resume:
            return next(folder for folder in _numbered(case) if not folder.exists())
        if not taken:
            raise InputError(
                f"--resume: there is no run in {_DEFAULT_ROOT / case}; name it by --out"
            )
        return taken[-1]
    if resume:
        if not (out / CONFIGURATION).is_file():
            raise InputError(f"--resume: {out} holds no run (no {CONFIGURATION} in it)")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"--out: {out} is not empty; pass --resume to continue the run in it, or name another"
        )
    return out


def _numbered(case: str) -> list[Path]:
    """runs/CASE, runs/CASE-2, ... up to the first that does not exist."""
    folders = [_DEFAULT_ROOT / case]
    while folders[-1].exists():
        folders.append(_DEFAULT_ROOT / f"{case}-{len(folders) + 1}")
    return folders


def write_configuration(folder: Path, settings: RunSettings) -> None:
    """Make the folder and put the resolved configuration into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot make {folder}: {error.strerror}") from None
    write_text(folder / CONFIGURATION, dump_yaml(settings))


def write_text(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=2) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises `InputError` for a file that cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def write_model(folder: Path, model: eqx.Module) -> None:
    """The model's arrays; the configuration rebuilds the rest."""
    with written_whole(folder / MODEL) as partial:
        eqx.tree_serialise_leaves(partial, model)


def set_precision(settings: RunSettings) -> None:
    """Give JAX the run's precision: the command's job, which the library never does on import."""
    jax.config.update("jax_enable_x64", settings.precision == "float64")


class Run(NamedTuple):
    """A trained run, read back."""

    case: Case
    settings: Any
    model: Any
    data: Trajectories


def read_configuration(folder: Path) -> tuple[Case, Any]:
    """The case and the settings of the run in `folder`.

    Raises `InputError` if it is not a run.
    """
    name = _what(folder).case
    if name is None:
        raise InputError(
            f"{folder}: is the run of a problem of one's own, not of a case; this works for cases"
        )
    case = get_case(name)
    return case, load_configuration(case.settings, [folder / CONFIGURATION], [])


def is_of_problem(folder: Path) -> bool:
    """Whether the run in `folder` is of a problem of one's own, not of a case.

    Raises `InputError` if it is not a run.
    """
    return _what(folder).problem is not None


def read_problem(folder: Path) -> tuple[Problem, Any]:
    """The problem, from the copy of its file that the run holds, and the settings of the run.

    Raises `InputError` if it is not the run of a problem.
    """
    path = _what(folder).problem
    if path is None:
        raise InputError(f"{folder}: is not the run of a problem of one's own")
    copy = folder / PROBLEM
    problem = load_problem(copy if copy.is_file() else path)
    problem.name = path.stem
    return problem, load_configuration(problem.settings, [folder / CONFIGURATION], [])


def _what(folder: Path) -> _What:
    path = folder / CONFIGURATION
    if not path.is_file():
        raise InputError(f"{folder}: is not the folder of a run (no {CONFIGURATION} in it)")
    return load_configuration(_What, [path], [])


def read(folder: Path) -> Run:
    """The run in `folder`, its model and its data.

    Raises `InputError` if it is not a run or was not trained to the end.
    """
    case, settings = read_configuration(folder)
    case = as_configured(case, settings)
    set_precision(settings)
    like = case.model(settings, jax.random.key(0))
    model = read_model(folder, like, case.name)
    if settings.data.path is None:
        return Run(case, settings, model, case.read_back(folder / DATA))
    return Run(case, settings, model, case.read(settings, settings.data.path)[0])


def read_model(folder: Path, like: M, name: str) -> M:
    """The trained model of the run in `folder`, of the structure of `like`.

    - `name`: what was run, as `impindiff run` takes it.

    Raises `InputError` for a run that was not trained to the end, or of another model.
    """
    path = folder / MODEL
    if not path.is_file():
        raise InputError(
            f"{folder}: has no {MODEL}, so its training has not ended; continue it with "
            f"'impindiff run {name} --out {folder} --resume'"
        )
    try:
        return eqx.tree_deserialise_leaves(path, like)
    except (RuntimeError, ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: cannot be read as the model of this run ({error})") from None
