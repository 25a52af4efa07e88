"""Conversion of a run's or comparison's folder to an HTML page."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from impindiff.data import require_writable, written_whole
from impindiff.errors import ImpindiffError, InputError, is_full_disk
from impindiff.pages._blocks import Page
from impindiff.pages._comparison import comparison_page
from impindiff.pages._run import run_page
from impindiff.results import RESULTS

_DEFAULT = "report.html"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write a run or a comparison as one self-contained HTML page.

    **Arguments:**

    - `folder`: of a run (`impindiff run`), or of a comparison, which has a results.json.
    - `out`: the file to write, by default report.html in `folder`.

    **Returns:** the path written.

    **Raises:** `InputError` for a folder that is neither or has not ended, content that cannot be
    read, or a file that cannot be written; nothing is written then.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give that of a run or a comparison")
    out = folder / _DEFAULT if out is None else out
    require_writable(out)
    build = comparison_page if (folder / RESULTS).is_file() else run_page
    try:
        text = render(build(folder))
    except ImpindiffError:
        raise
    except Exception as error:  # the type depends on where a file is damaged
        if is_full_disk(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{folder}: holds results that are not of the form in which they were written "
            f"({reason}); run it again"
        ) from error
    with written_whole(out) as partial:
        partial.write_text(text, encoding="utf-8")
    return out


def render(page: Page) -> str:
    """Render a page as HTML with escaped text."""
    return _environment().get_template("page.html").render(page=page)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("impindiff.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
