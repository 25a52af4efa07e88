"""Figures drawn without a layout, for tests that ask only which ones a run has left.

The layout and the margins take most of a figure's time. `tests/report` and `tests/pages` look at
figures as they are.
"""

from typing import Any

from matplotlib.figure import Figure

_whole = Figure.savefig


def _quickly(self: Figure, fname: Any, **options: Any) -> None:
    # all but the frames of animations, which have a size to keep
    if options.get("bbox_inches") == "tight":
        self.set_layout_engine("none")
        options["bbox_inches"] = None
    _whole(self, fname, **options)


def draw_quickly(quickly: bool = True) -> None:
    """From now on in this process, or, with False, as they are again."""
    Figure.savefig = _quickly if quickly else _whole
