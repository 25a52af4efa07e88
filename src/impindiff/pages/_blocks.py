"""Building blocks of a page, each with the macro in `templates/blocks.html` that renders it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

_HALF_A_PAGE = 1050  # pixels that stay readable in half of the page's width


@dataclass(frozen=True)
class Row:
    """A row of a table.

    - `head`: title of the row; `detail`, small below it.
    - `cells`: one text per further column.
    - `best`: indices of cells marked as the best of their column.
    - `instead`: a text in place of all cells.
    """

    head: str
    cells: Sequence[str] = ()
    detail: str = ""
    best: frozenset[int] = frozenset()
    instead: str | None = None


@dataclass(frozen=True)
class Table:
    """A table; `columns` are the headings, that of the row titles first."""

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
    - `alt`: alternative text; `caption`: below it.
    - `still`: for a film, a still image shown under reduced motion.
    """

    source: str
    width: int
    height: int
    alt: str
    caption: str
    still: str | None = None

    @property
    def wide(self) -> bool:
        """True if it needs the page's full width."""
        return self.width > min(1.9 * self.height, _HALF_A_PAGE)


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid."""

    macro: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Film:
    """A film; closing it stops it."""

    macro: ClassVar[str] = "film"
    picture: Picture


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    macro: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Code:
    """Text of a terminal or a file; `label` names it."""

    macro: ClassVar[str] = "code"
    text: str
    label: str


@dataclass(frozen=True)
class Entry:
    """A description: name, kind, paragraphs, and settings."""

    name: str
    kind: str
    paragraphs: Sequence[str]
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Entries:
    """Descriptions, side by side where there is room."""

    macro: ClassVar[str] = "entries"
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Folded:
    """Blocks that are folded until opened."""

    macro: ClassVar[str] = "folded"
    summary: str
    blocks: Sequence["Block"]


Block = Table | Tables | Gallery | Film | Prose | Code | Entries | Folded


@dataclass(frozen=True)
class Section:
    """A heading, its anchor, and the content below."""

    name: str
    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page.

    - `title`, `kind`: the subject, and the small line above.
    - `summary`: one sentence.
    - `tiles`: the key numbers, (label, text) each.
    - `footer`: software that wrote the page.
    """

    title: str
    kind: str
    summary: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str
