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
    errors = _LastErrors()
    if not console.is_terminal:
        every = max(1, steps // _LINES)

        def line(progress: Progress) -> None:
            text = errors.after(progress)
            if progress.step % every == 0 or progress.step == steps:
                console.print(
                    f"step {progress.step}/{steps}  loss {progress.loss:.3e}{text}",
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
                description=f"loss {progress.loss:.3e}{errors.after(progress)}",
            )

        yield advance


class _LastErrors:
    """Validation loss and test error for the display; the latter is not known after every step."""

    def __init__(self):
        self.test = ""

    def after(self, progress: Progress) -> str:
        if progress.test is not None:
            self.test = f"  test error {progress.test:.3f} % (step {progress.step})"
        validation = progress.validation
        return ("" if validation is None else f"  validation {validation:.3e}") + self.test
