"""Progress display during training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from impindiff.training import Progress

_LINES = 10


@contextmanager
def training_progress(console: Console, steps: int) -> Iterator[Callable[[Progress], None]]:
    """A function to call after each training step: a live bar on a terminal, else ten lines."""
    if not console.is_terminal:
        every = max(1, steps // _LINES)

        def line(progress: Progress) -> None:
            if progress.step % every == 0 or progress.step == steps:
                console.print(
                    f"step {progress.step}/{steps}  loss {progress.loss:.3e}" + _errors(progress),
                    highlight=False,
                )

        yield line
        return

    with RichProgress(
        # fits a terminal of 80 columns
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=False,
    ) as bar:
        task = bar.add_task("preparing", total=steps)

        def advance(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.step,
                description=f"loss {progress.loss:.3e}{_errors(progress)}",
            )

        yield advance


def _errors(progress: Progress) -> str:
    validation, test = progress.validation, progress.test
    text = "" if validation is None else f"  validation {validation:.3e}"
    return text + ("" if test is None else f"  test error {test:.3f} %")
