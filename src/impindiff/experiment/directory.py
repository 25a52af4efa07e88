"""The folder of a run: its choice, and the files written to it."""

import contextlib
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
from pydantic import BaseModel

from impindiff.data import content_of, is_zarr_store, written_whole
from impindiff.errors import FailureCode, InputError
from impindiff.problem import Problem, file_of, own_modules
from impindiff.results import FAILURE, Failure, finite
from impindiff.settings import dump_yaml
from impindiff.settings.sections import ProblemSettings
from impindiff.training import LOCK, held, is_leftover

CONFIGURATION = "config.yaml"
MODEL = "model.eqx"
POSTERIOR = "posterior.npz"
DATA = "data.nc"
PROBLEM = "problem.py"
MODULES = "modules"
INPUTS = "inputs.json"
_BEGUN = ".begun"
# files written before the configuration, which marks the beginning of a run
_BEFORE = (_BEGUN, DATA, PROBLEM, MODULES, INPUTS)
END = "..."  # end of a YAML document: a truncated configuration lacks it
_DEFAULT_ROOT = Path("runs")

R = TypeVar("R", bound=ProblemSettings)


@contextmanager
def claimed(name: str, out: Path | None, *, resume: bool = False) -> Iterator[Path]:
    """Reserve the run's folder for this process until the block ends.

    Without `out`: runs/NAME, or runs/NAME-2, ..., so that no other run is touched; with `resume`
    the latest of these. A folder without a run at the end of the block is removed again.

    **Raises:** `InputError` for an `out` that is not empty, for nothing to resume, and for a folder
    held by another process.
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
    """True if the folder holds a run that can be resumed."""
    return (folder / CONFIGURATION).is_file()


def write_failure(folder: Path, code: FailureCode, message: str) -> None:
    """Store the reason of a run's failure in failure.json, until it is resumed.

    Nothing is written for a run that has not begun, or on a full disk.
    """
    if has_begun(folder):
        with contextlib.suppress(OSError):
            Failure(code=code, message=message).write(folder / FAILURE)


def read_failure(folder: Path) -> Failure | None:
    """The reason of a run's failure; None if it did not fail, or has been resumed.

    **Raises:** `InputError` for a file of other content.
    """
    path = folder / FAILURE
    return Failure.read(path) if path.is_file() else None


def discard(folder: Path) -> None:
    """Remove the files of a run that has not begun; a run that has begun stays."""
    if has_begun(folder):
        return
    for name in _BEFORE:
        path = folder / name
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _made(first: Path) -> tuple[Path, list[Path]]:
    """Make the first possible folder of NAME, NAME-2, ...; returns it and all folders made."""
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
    """Make a folder and its parents; returns the new ones, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot make {folder}: {error.strerror}") from None
    return missing


def _require_empty(folder: Path) -> None:
    """Refuse a folder with files other than those of a run killed at its beginning."""
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


def write_configuration(folder: Path, settings: ProblemSettings) -> None:
    """Write the resolved configuration, last: it marks the run as begun.

    Hashes of the run's inputs are stored too (see `require_same_files`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / CONFIGURATION) as partial:
        partial.write_text(f"{dump_yaml(settings)}{END}\n")
        contents = {CONFIGURATION: {"path": CONFIGURATION, **content_of(partial)}}
        write_json(folder / INPUTS, contents | _contents(folder, settings))
    (folder / _BEGUN).unlink(missing_ok=True)


def require_same_files(folder: Path, *, changed: bool = False) -> None:
    """Refuse to continue with files that have changed since the run in `folder` began.

    They are its configuration, its reference data, its problem's Python files, and external files
    named in the configuration, such as measurements. Missing files are left to their readers.

    **Arguments:**

    - `changed`: continue nevertheless.

    **Raises:** `InputError`.
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
            f"{folder / INPUTS}: is damaged ({reason}), so it cannot be seen whether files have "
            "changed since the run began; pass --changed-data to continue with them as they are"
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
                f"{key}: {path} has changed since the run in {folder} began ({now['size']} "
                f"bytes, {before['size']!r:.30} then); put it back, or pass --changed-data to go "
                "on with it as it is"
            )


def _contents(folder: Path, settings: ProblemSettings) -> dict[str, Any]:
    """Path, size and SHA-256 of each input file of the run, by role."""
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
    """All paths in a configuration, by key."""
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
    """Write a file atomically."""
    with written_whole(path) as partial:
        partial.write_text(text)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(content), indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a file of `write_json`. Raises `InputError` for a file that cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read as JSON: {reason}") from None


def pictures(folder: Path) -> list[Path]:
    """The PNG files of a folder, by name; none if the folder does not exist."""
    return sorted(path for path in folder.glob("*.png") if path.is_file())


def write_model(folder: Path, model: eqx.Module) -> None:
    """Write the model's arrays; the configuration rebuilds the rest."""
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, model)
    write_with_digest(folder / MODEL, file.getvalue())


def write_with_digest(path: Path, content: bytes) -> None:
    """Write a file atomically, with its SHA-256 at the end."""
    with written_whole(path) as partial:
        partial.write_bytes(content + hashlib.sha256(content).digest())


def read_with_digest(path: Path) -> io.BytesIO:
    """The content of a file of `write_with_digest`. Raises `ValueError` for a damaged one."""
    file = path.read_bytes()
    length = hashlib.sha256().digest_size
    content, digest = file[:-length], file[-length:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("it is damaged")
    return io.BytesIO(content)


def with_absolute_path(settings: R) -> R:
    """Make `data.path` absolute, so that the run can be resumed and forecast from any folder.

    Other settings are unchanged.
    """
    data: Any = getattr(settings, "data", None)
    if data is None or data.path is None:
        return settings
    chosen = data.model_copy(update={"path": data.path.absolute()})
    return settings.model_copy(update={"data": chosen})


def set_precision(settings: ProblemSettings) -> None:
    """Set JAX's precision for the run (the command does, the library never on import)."""
    jax.config.update("jax_enable_x64", settings.precision == "float64")


def write_problem(folder: Path, problem: Problem) -> None:
    """Store the problem's file, and the modules in its folder that it needs, with the run."""
    file = file_of(problem)
    if file is None or file.resolve().parent == folder.resolve():
        return
    kept = {folder / PROBLEM: file}
    kept |= {folder / MODULES / name: module for name, module in own_modules(problem).items()}
    for copy, original in kept.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(copy) as partial:
            shutil.copyfile(original, partial)
