"""Text from folders, keys and files is text on a page."""

from impindiff.pages._blocks import Code, Entries, Entry, Folded, Page, Prose, Row, Section, Table
from impindiff.pages._write import render

BAD = "<script>alert('x')</script>{{7*7}}&\"'"


def test_no_text_becomes_markup():
    blocks = [
        Prose(BAD),
        Code(BAD, BAD),
        Table(BAD, [BAD, BAD], [Row(BAD, [BAD], detail=BAD), Row(BAD, instead=BAD)], note=BAD),
        Entries([Entry(BAD, BAD, [BAD], [BAD])]),
    ]
    sections = [Section(BAD, BAD, [*blocks, Folded(BAD, blocks)])]
    text = render(Page(BAD, BAD, BAD, [(BAD, BAD)], sections, BAD))
    assert "<script>alert" not in text
    assert "49" not in text.split("</style>")[-1]
    assert text.count("&lt;script&gt;") > 20
