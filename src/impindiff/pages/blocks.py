"""What a page is made of. Each block names the macro of `templates/blocks.html` that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

_HALF_A_PAGE = 1050  # pixels that stay readable in half of the page's width


@dataclass(frozen=True)
class Row:
    """A row of a table.

    - `head`: what the row is about, and `detail`, small below it.
    - `cells`: one text a column after the first.
    - `best`: which of the cells are set off as the best of their column.
    - `instead`: a text in place of all cells.
    """

    head: str
    cells: Sequence[str] = ()
    detail: str = ""
    best: frozenset[int] = frozenset()
    instead: str | None = None


@dataclass(frozen=True)
class Table:
    """A table; `columns` are the heads, the one above the rows' own heads first."""

    macro: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Tables:
    """Tables, side by side where they are short."""

    macro: ClassVar[str] = "tables"
    tables: Sequence[Table]


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    - `source`: a data URI; `width`, `height`: in pixels.
    - `alt`: what it shows, for who does not see it; `caption`: below it.
    - `still`: for a film, one image that stands for it where motion is not wanted.
    """

    source: str
    width: int
    height: int
    alt: str
    caption: str
    still: str | None = None

    @property
    def wide(self) -> bool:
        """Whether it needs the page's whole width to be read."""
        return self.width > min(1.9 * self.height, _HALF_A_PAGE)


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid."""

    macro: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Film:
    """A picture that moves; closing it stops it."""

    macro: ClassVar[str] = "film"
    picture: Picture


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    macro: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Code:
    """Text as it is written in a terminal or a file; `label` says which."""

    macro: ClassVar[str] = "code"
    text: str
    label: str


@dataclass(frozen=True)
class Entry:
    """A thing described: its name, what kind it is, paragraphs, and settings of its own."""

    name: str
    kind: str
    paragraphs: Sequence[str]
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Entries:
    """Things described, side by side where there is room."""

    macro: ClassVar[str] = "entries"
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Folded:
    """Blocks that are there for who opens them."""

    macro: ClassVar[str] = "folded"
    summary: str
    blocks: Sequence["Block"]


Block = Table | Tables | Gallery | Film | Prose | Code | Entries | Folded


@dataclass(frozen=True)
class Section:
    """A heading, the name that links use, and what is below it."""

    name: str
    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page.

    - `title`, `kind`: what it reports on, and the small line above.
    - `summary`: one sentence.
    - `tiles`: the numbers that matter most, (label, text) each.
    - `footer`: who made it.
    """

    title: str
    kind: str
    summary: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str
