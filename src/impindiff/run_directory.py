"""The folder of a run: which one, and what is read back from it."""

import contextlib
import hashlib
import io
import itertools
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
from pydantic import BaseModel, ConfigDict

from impindiff.cases import Case, dump_yaml, get_case, load_configuration
from impindiff.cases.configuration import StrictModel, load_settings, nested_overrides
from impindiff.cases.settings import RunSettings
from impindiff.ensembles import as_configured
from impindiff.errors import FailureCode, InputError
from impindiff.observations import Trajectories, content_of, is_zarr_store, written_whole
from impindiff.problem import Problem, file_of, load_problem, own_modules
from impindiff.training import LOCK, held, holder, is_leftover

CONFIGURATION = "config.yaml"
MODEL = "model.eqx"
DATA = "data.nc"
PROBLEM = "problem.py"
MODULES = "modules"
METRICS = "metrics.json"
INPUTS = "inputs.json"
FAILURE = "failure.json"
_BEGUN = ".begun"
# what is written before the configuration, with which the run has begun
_BEFORE = (_BEGUN, DATA, PROBLEM, MODULES, INPUTS)
_END = "..."  # of a YAML document: a configuration that is cut short lacks it
_DEFAULT_ROOT = Path("runs")

M = TypeVar("M", bound=eqx.Module)
R = TypeVar("R", bound=RunSettings)


class _What(StrictModel):
    model_config = ConfigDict(extra="ignore")

    case: str | None = None
    problem: Path | None = None


@contextmanager
def claimed(name: str, out: Path | None, *, resume: bool = False) -> Iterator[Path]:
    """The folder to run in, which this process holds until the block ends.

    Without `out`: runs/NAME, or runs/NAME-2, ... so that no other run is touched; with `resume` the
    latest of these. A folder in which no run has begun by the end of the block is removed again.

    Raises `InputError` for an `out` that holds something already, for nothing to resume, and for a
    folder that another process holds, naming it.
    """
    if resume:
        folder = _latest(name) if out is None else out
        if not (folder / CONFIGURATION).is_file():
            raise InputError(f"--resume: {_no_run_in(folder)}")
        with held(folder):
            (folder / FAILURE).unlink(missing_ok=True)
            yield folder
        return
    folder, made = _made(_DEFAULT_ROOT / name) if out is None else _given(out)
    try:
        with held(folder):
            _require_empty(folder)
            try:
                yield folder
            finally:
                discard(folder)
    finally:
        with contextlib.suppress(OSError):  # not empty: a run has begun
            for path in made:
                path.rmdir()


def has_begun(folder: Path) -> bool:
    """Whether the folder holds a run that can be resumed."""
    return (folder / CONFIGURATION).is_file()


def write_failure(folder: Path, code: FailureCode, message: str) -> None:
    """Keep why the run in the folder failed, in failure.json, until it is resumed.

    A run that has not begun leaves nothing, and a full disk takes nothing.
    """
    if has_begun(folder):
        with contextlib.suppress(OSError):
            write_json(folder / FAILURE, {"code": code, "message": message})


class Failure(NamedTuple):
    """Why a run failed."""

    code: FailureCode
    message: str


def read_failure(folder: Path) -> Failure | None:
    """Why the run in the folder failed; None if it did not, or has been resumed.

    Raises `InputError` for a file of other content.
    """
    path = folder / FAILURE
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        return Failure(FailureCode(found["code"]), str(found["message"]))
    except (ValueError, LookupError, TypeError):
        raise InputError(
            f"{path}: is damaged, or written by another version; expected a code and a message"
        ) from None


def discard(folder: Path) -> None:
    """Remove what was written for a run that has not begun; the run of one that has stays."""
    if has_begun(folder):
        return
    for name in _BEFORE:
        path = folder / name
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _made(first: Path) -> tuple[Path, list[Path]]:
    """The first of NAME, NAME-2, ... that could be made, and all folders that were."""
    parents = _make(first.parent)
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            folder.mkdir()  # one of several processes succeeds
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"--out: cannot make {folder}: {error.strerror}") from None
        return folder, [folder, *parents]
    raise AssertionError


def _given(out: Path) -> tuple[Path, list[Path]]:
    if out.is_dir():
        return out, []
    if out.exists():
        raise InputError(f"--out: {out} is not a folder; name another")
    return out, _make(out)


def _make(folder: Path) -> list[Path]:
    """Make a folder and those it is in; those that were not there, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot make {folder}: {error.strerror}") from None
    return missing


def _require_empty(folder: Path) -> None:
    """Refuse a folder that holds anything but what a run leaves that is killed as it begins."""
    names = {path.name for path in folder.iterdir() if not is_leftover(path)} - {LOCK}
    if CONFIGURATION in names:
        raise InputError(
            f"--out: {folder} is not empty, it holds a run; pass --resume to continue it, or name "
            "another folder"
        )
    if names and not (names <= set(_BEFORE) and _was_begun(folder)):
        raise InputError(
            f"--out: {folder} is not empty ({sorted(names)[0]} is in it) and holds no run; name "
            "another folder, or remove what is in it"
        )
    discard(folder)
    (folder / _BEGUN).touch()


def _was_begun(folder: Path) -> bool:
    return (folder / _BEGUN).is_file()


def _latest(name: str) -> Path:
    numbered = [_DEFAULT_ROOT / name]
    while numbered[-1].exists():
        numbered.append(_DEFAULT_ROOT / f"{name}-{len(numbered) + 1}")
    runs = [folder for folder in numbered if (folder / CONFIGURATION).is_file()]
    if not runs:
        raise InputError(f"--resume: there is no run in {numbered[0]}; name it by --out")
    return runs[-1]


def _no_run_in(folder: Path) -> str:
    if _was_begun(folder):
        return (
            f"{folder} holds no run, for it was ended before it began (no {CONFIGURATION} in it); "
            f"start it again with --out {folder}, without --resume"
        )
    return f"{folder} holds no run (no {CONFIGURATION} in it)"


def write_configuration(folder: Path, settings: RunSettings) -> None:
    """Put the resolved configuration into the folder, last: with it, the run has begun.

    The run remembers what it rests on (see `require_same_files`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / CONFIGURATION) as partial:
        partial.write_text(f"{dump_yaml(settings)}{_END}\n")
        contents = {CONFIGURATION: {"path": CONFIGURATION, **content_of(partial)}}
        write_json(folder / INPUTS, contents | _contents(folder, settings))
    (folder / _BEGUN).unlink(missing_ok=True)


def require_same_files(folder: Path, *, changed: bool = False) -> None:
    """Refuse to go on with files that are not what they were when the run in `folder` began.

    They are its configuration, its reference data, its problem's Python files, and the files
    outside that its configuration names, such as measurements. What is gone is left to those who
    read it.

    - `changed`: go on all the same.

    Raises `InputError`.
    """
    if changed or not has_begun(folder):
        return
    try:
        known = {
            key: (folder / of["path"], {"size": of["size"], "sha256": of["sha256"]})
            for key, of in read_json(folder / INPUTS).items()
        }
    except (InputError, TypeError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder / INPUTS}: is damaged ({reason}), so it cannot be seen whether the data are "
            "what they were when the run began; pass --changed-data to go on with them as they are"
        ) from None
    for key, (path, before) in known.items():
        if not path.is_file() and not is_zarr_store(path):
            continue
        try:
            now = content_of(path)
        except OSError as error:
            raise InputError(f"{key}: {path} cannot be read: {error.strerror}") from None
        if now != before:
            raise InputError(
                f"{key}: {path} is not what it was when the run in {folder} began ({now['size']} "
                f"bytes, {before['size']!r:.30} then); put it back, or pass --changed-data to go "
                "on with it as it is"
            )


def _contents(folder: Path, settings: RunSettings) -> dict[str, Any]:
    """Path, size and SHA-256 of each file that the run rests on, by what names it."""
    own = [folder / DATA, folder / PROBLEM, *sorted((folder / MODULES).rglob("*.py"))]
    names = [path.relative_to(folder).as_posix() for path in own]
    named = {name: (name, path) for name, path in zip(names, own, strict=True)}
    for key, path in _paths(settings):
        if key != "problem":
            named[key] = (str(path.absolute()), path)
    return {
        key: {"path": name, **content_of(path)}
        for key, (name, path) in named.items()
        if path.is_file() or is_zarr_store(path)
    }


def _paths(settings: Any, prefix: str = "") -> list[tuple[str, Path]]:
    """The paths anywhere in a configuration, by their keys."""
    if isinstance(settings, Path):
        return [(prefix, settings)]
    if isinstance(settings, BaseModel):
        parts = [(name, getattr(settings, name)) for name in type(settings).model_fields]
    elif isinstance(settings, Mapping):
        parts = list(settings.items())
    elif isinstance(settings, list | tuple):
        parts = list(enumerate(settings))
    else:
        return []
    return [
        found
        for name, part in parts
        for found in _paths(part, f"{prefix}.{name}" if prefix else str(name))
    ]


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
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read as JSON: {reason}") from None


def pictures(folder: Path) -> list[Path]:
    """The PNG files of a folder, by name; none if there is no such folder."""
    return sorted(path for path in folder.glob("*.png") if path.is_file())


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def write_model(folder: Path, model: eqx.Module) -> None:
    """The model's arrays, then their SHA-256; the configuration rebuilds the rest."""
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, model)
    content = file.getvalue()
    with written_whole(folder / MODEL) as partial:
        partial.write_bytes(content + hashlib.sha256(content).digest())


def with_absolute_path(settings: R) -> R:
    """The settings with `data.path` absolute: the run can be resumed and forecast from any folder.

    Other settings stay as they are.
    """
    data: Any = getattr(settings, "data", None)
    if data is None or data.path is None:
        return settings
    chosen = data.model_copy(update={"path": data.path.absolute()})
    return settings.model_copy(update={"data": chosen})


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
    if name is None:  # and so it names a problem
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
    if not copy.is_file() or copy.resolve().parent != folder.resolve():
        raise InputError(
            f"{copy}: is not there, and nothing outside of the run's folder is run in its place; "
            f"put the file that the run was made with there, it was {path}"
        )
    problem = load_problem(copy, folder / MODULES)
    problem.name = path.stem
    return problem, load_configuration(problem.settings, [folder / CONFIGURATION], [])


def write_problem(folder: Path, problem: Problem) -> None:
    """Keep the problem's file, and the modules beside it that it needs, with the run."""
    file = file_of(problem)
    if file is None or file.resolve().parent == folder.resolve():
        return
    kept = {folder / PROBLEM: file}
    kept |= {folder / MODULES / name: module for name, module in own_modules(problem).items()}
    for copy, original in kept.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(copy) as partial:
            shutil.copyfile(original, partial)


def outline(folder: Path) -> dict[str, Any]:
    """The configuration of the run in `folder` as it is written, checked by no model.

    Raises `InputError` if it is not a run, or damaged.
    """
    path = folder / CONFIGURATION
    if not path.is_file():
        raise InputError(f"{folder}: is not the folder of a run (no {CONFIGURATION} in it)")
    try:
        is_whole = path.read_bytes().rstrip().endswith(f"\n{_END}".encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not is_whole:
        raise InputError(
            f"{path}: is damaged, or written by an earlier version, for its last line is not "
            f"'{_END}'; take it from a backup, or start the run again in another folder"
        )
    return nested_overrides([path], [])


def _what(folder: Path) -> _What:
    found = load_settings(_What, outline(folder))
    if (found.case is None) == (found.problem is None):
        raise InputError(
            f"{folder / CONFIGURATION}: is damaged, for it names "
            f"{'neither case nor problem' if found.case is None else 'both case and problem'}; "
            "take it from a backup, or start the run again in another folder"
        )
    return found


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


def not_ended(folder: Path, name: str) -> str:
    """Why there is no result, and what to do, after "so".

    - `name`: what was run, as `impindiff run` takes it.
    """
    who = holder(folder)
    if who is not None:
        return f"its training has not ended; {who} is at it"
    return (
        "its training has not ended; continue it with "
        f"'impindiff run {name} --out {folder} --resume'"
    )


def read_model(folder: Path, like: M, name: str) -> M:
    """The trained model of the run in `folder`, of the structure of `like`.

    - `name`: what was run, as `impindiff run` takes it.

    Raises `InputError` for a run that was not trained to the end, or of another model.
    """
    path = folder / MODEL
    if not path.is_file():
        raise InputError(f"{folder}: has no {MODEL}, so {not_ended(folder, name)}")
    try:
        file = path.read_bytes()
        length = hashlib.sha256().digest_size
        content, digest = file[:-length], file[-length:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("it is damaged")
        return eqx.tree_deserialise_leaves(io.BytesIO(content), like)
    except Exception as error:  # as NumPy and Equinox raise them
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: cannot be read as the model of this run ({reason}); make it again with "
            f"'impindiff run {name} --out {folder} --resume'"
        ) from None
