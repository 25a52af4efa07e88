"""Public data sets by name: downloaded once, checked by their SHA-256, kept in the user's cache."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from platformdirs import user_cache_path

from impindiff.errors import InputError, is_full_disk

FOLDER = "IMPINDIFF_DATA"  # environment variable: the folder of the data sets
_CACHE = "IMPINDIFF_CACHE"  # environment variable: a folder for all that is cached, or "off"
_SECONDS = 30  # without an answer


class PublicDataSet(NamedTuple):
    """Public data set: its files at one commit of a GitHub repository.

    - `name`: as `fetch` takes it; `about`: its content, in one line.
    - `repository`: owner/name; `commit`: 40 hexadecimal digits; `folder`: of the files in it.
    - `licence`: of the data, an SPDX identifier; `citation`: the publication to cite.
    - `files`: SHA-256 by name.
    """

    name: str
    about: str
    repository: str
    commit: str
    folder: str
    licence: str
    citation: str
    files: Mapping[str, str]

    @property
    def source(self) -> str:
        """The address of the repository at the commit, for people."""
        return f"https://github.com/{self.repository}/tree/{self.commit}/{self.folder}"

    def address(self, file: str) -> str:
        """The address of a file."""
        return (
            f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.folder}/"
            f"{file}"
        )


@cache
def public_data_sets() -> Mapping[str, PublicDataSet]:
    """All public data sets that `fetch` knows, by name."""
    text = files("impindiff.data").joinpath("public_data.json").read_text(encoding="utf-8")
    found = {name: PublicDataSet(name, **entry) for name, entry in json.loads(text).items()}
    return MappingProxyType(found)


def public_data_folder() -> Path:
    """The folder that holds one folder for each data set.

    The environment variable `IMPINDIFF_DATA`, else `data` in the folder named by `IMPINDIFF_CACHE`,
    else `data` in the user's cache folder of this package.
    """
    chosen, shared = os.environ.get(FOLDER), os.environ.get(_CACHE)
    if chosen:
        return Path(chosen).expanduser()
    base = Path(shared).expanduser() if shared and shared != "off" else user_cache_path("impindiff")
    return base / "data"


def fetch(name: str) -> Path:
    """Fetch a public data set, unless it is in the cache already, and return its folder.

    A file in the cache is used if its SHA-256 is right, and downloaded anew if not. So where there
    is no network, the files may be put there by hand. No file is ever there in part.

    **Arguments:**

    - `name`: one of `public_data_sets()`, such as "scratch_assay".

    **Returns:** the folder with the files; see `public_data_folder`.

    **Raises:** `InputError` for an unknown name, a file that cannot be downloaded or whose SHA-256
    is another, and a cache that cannot be written.
    """
    known = public_data_sets()
    if name not in known:
        raise InputError(
            f"fetch: there is no data set '{name}'; expected one of {', '.join(known)}"
        )
    chosen, folder = known[name], public_data_folder() / name
    for file, sha256 in chosen.files.items():
        _fetch_file(chosen.address(file), sha256, folder / file)
    return folder


def _fetch_file(address: str, sha256: str, path: Path) -> None:
    # needed here alone, and slow to import
    import pooch
    from requests.exceptions import RequestException

    by_hand = f"or put the file into {path.parent} yourself"
    try:
        with _silent(pooch.get_logger()):
            # called by position, whatever the names in pooch's protocol
            download: Any = _download
            pooch.retrieve(address, f"sha256:{sha256}", path.name, path.parent, None, download)
    except RequestException as error:
        answer = getattr(error, "response", None)
        reason = "no network, or no answer" if answer is None else f"HTTP {answer.status_code}"
        raise InputError(
            f"fetch: {address} cannot be downloaded ({reason}); try again with a network, {by_hand}"
        ) from error
    except ValueError as error:  # of the hash
        raise InputError(
            f"fetch: {address} is not the file that was expected (its SHA-256 is not "
            f"{sha256[:12]}...), so it was not kept; try again, {by_hand}"
        ) from error
    except OSError as error:
        if is_full_disk(error):
            raise
        raise InputError(
            f"fetch: {path.parent} cannot be written ({error.strerror or error}); name another "
            f"folder in the environment variable {FOLDER}"
        ) from error


def _download(address: str, path: str, _: object) -> None:
    """Download a file, as pooch's own downloader, which leaves its connection open, does not."""
    import requests

    with requests.get(address, stream=True, timeout=_SECONDS) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        for part in answer.iter_content(chunk_size=2**16):
            file.write(part)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Leave out the lines of a logger that are no warnings."""
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
