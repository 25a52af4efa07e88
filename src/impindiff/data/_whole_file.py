"""Atomic writes: a file is written under a temporary name, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from impindiff.errors import ImpindiffError, InputError, is_full_disk


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` if the block succeeds, else delete it.

    The temporary file is in the same folder (a rename is atomic only inside one file system) and
    keeps the suffix, from which writers infer the format. It may be a folder, such as a Zarr store;
    an older store of that name is set aside and deleted once the new one is in place.

    **Raises:** `InputError` as `require_writable`; `ImpindiffError` if the disk becomes full.
    """
    require_writable(path)
    partial = path.parent / f".{path.stem}.partial-{os.getpid()}{path.suffix}"
    older = partial.with_name(f"{partial.name}.older")
    try:
        yield partial
        if path.is_dir():
            path.rename(older)
        try:
            os.replace(partial, path)
        except OSError:
            if older.exists():
                older.rename(path)
            raise
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise ImpindiffError(
            f"{path}: the disk is full; make room and try again (a run goes on with --resume)"
        ) from None
    finally:
        _remove(partial)
        _remove(older)


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset as NetCDF-4, whole or not at all.

    Written by way of memory: HDF5 crashes when it closes a file truncated by a full disk.

    **Raises:** as `written_whole`.
    """
    with written_whole(path) as partial:
        partial.write_bytes(dataset.to_netcdf(engine="h5netcdf"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def content_of(path: Path) -> dict[str, int | str]:
    """`size` in bytes and `sha256` of a file, or of all files of a folder and their names."""
    if path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
        return {"size": path.stat().st_size, "sha256": found.hexdigest()}
    total, whole = 0, hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        of_file = content_of(inner)
        total += int(of_file["size"])
        whole.update(f"{inner.relative_to(path).as_posix()}\n{of_file['sha256']}\n".encode())
    return {"size": total, "sha256": whole.hexdigest()}


def is_zarr_store(folder: Path) -> bool:
    """True if a folder is the top of a Zarr store, of either version."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def require_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before work is spent on it.

    **Raises:** `InputError` if `path` is a folder or its own folder is missing or not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written, there is no folder {folder}; make it first")
    # a Zarr store is a folder and may be overwritten; other folders would be lost
    if path.is_dir() and not (path.suffix == ".zarr" and is_zarr_store(path)):
        raise InputError(f"{path}: is a folder; give the name of a file to write")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: cannot be written, no permission to write in {folder}")
