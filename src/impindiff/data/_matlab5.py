"""Checks of the tags of a MATLAB 5 file before SciPy reads it.

SciPy crashes the process on an array whose tag has an undefined type. A file is a header of 128
bytes, then elements: a tag of type and length, and the content. Elements of type matrix, perhaps
compressed, hold elements in turn: flags, dimensions, name, real part, imaginary part.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from impindiff.data._memory import require_readable
from impindiff.errors import InputError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# bytes per number, by the type in a tag
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX = 0x0800
# flags, dimensions and name need far less, so the rest of a compressed array can wait
_START = 2**16


class _Element(NamedTuple):
    kind: int
    start: int
    length: int
    end: int


def numeric_arrays(path: Path) -> list[str]:
    """The names of numeric arrays; text, cells, structures and sparse arrays are left out.

    **Raises:** `InputError` for tags that are invalid in a MATLAB 5 file.
    """
    names = []
    size, needed = path.stat().st_size, 0
    with path.open("rb") as file:
        little = file.read(_HEADER)[126:128] == b"IM"
        order = "<" if little else ">"
        for element in _elements(file, order, size):
            file.seek(element.start)
            if element.kind == _MATRIX:
                name = _array_name(file.read(element.length), order)
            elif element.kind == _COMPRESSED:
                content = file.read(element.length)
                start = _start(content, order)
                needed += _tag(start, 0, order).length
                require_readable("its arrays", needed, "store fewer of them", size)
                name = _array_name(_decompressed(content, start, order), order)
            else:
                raise _damaged(f"an element of type {element.kind}")
            if name is not None:
                names.append(name)
    return names


def _elements(file: BinaryIO, order: str, size: int) -> Iterator[_Element]:
    position = _HEADER
    while position < size:
        file.seek(position)
        tag = _tag(file.read(8), 0, order)
        start = position + tag.start
        if start + tag.length > size:
            raise _damaged("an element that ends after the file")
        yield tag._replace(start=start)
        # compressed elements are not padded to a multiple of 8 bytes, nor are matrices, whose parts
        # already are
        position = start + tag.length


def _start(content: bytes, order: str) -> bytes:
    """The first bytes of the matrix inside, with its tag."""
    start = zlib.decompressobj().decompress(content, _START)
    if len(start) < 24 or _tag(start, 0, order).kind != _MATRIX:
        raise _damaged("a compressed element without an array")
    return start


def _decompressed(content: bytes, start: bytes, order: str) -> bytes:
    """The content of the matrix inside, decompressed fully only if needed."""
    is_complex = _words(start[16:20], order)[0] & _COMPLEX
    if not is_complex:
        return start[8:]
    # no more than the tag's length
    return zlib.decompressobj().decompress(content, _tag(start, 0, order).length + 8)[8:]


def _array_name(content: bytes, order: str) -> str | None:
    """Check the tags of an array's parts; return its name, or None if it is not numeric."""
    flags = _tag(content, 0, order)
    dimensions = _tag(content, flags.end, order)
    name = _tag(content, dimensions.end, order)
    if (flags.kind, flags.length, dimensions.kind) != (6, 8, 5) or name.kind not in (1, 2):
        raise _damaged("an array without flags, dimensions or name")
    first = int(_words(content[flags.start : flags.start + 4], order)[0])
    if first & 0xFF not in _NUMERIC_CLASSES:
        return None
    shape = _words(content[dimensions.start : dimensions.start + dimensions.length], order)
    numbers = math.prod(map(int, shape))
    position = name.end
    for _ in range(2 if first & _COMPLEX else 1):
        part = _tag(content, position, order)
        if part.length != numbers * _BYTES.get(part.kind, -1):
            raise _damaged(f"an array of {numbers} numbers in {part.length} bytes of another type")
        position = part.end
    return content[name.start : name.start + name.length].decode("latin1")


def _tag(content: bytes, position: int, order: str) -> _Element:
    """The element that starts at a position; up to 4 bytes of content fit inside the tag."""
    if len(content) < position + 8:
        raise _damaged("an element that is cut short")
    first, second = map(int, _words(content[position : position + 8], order))
    if first >> 16:
        return _Element(first & 0xFFFF, position + 4, first >> 16, position + 8)
    end = position + 8 + second
    return _Element(first, position + 8, second, end + -second % 8)


def _words(content: bytes, order: str) -> np.ndarray:
    return np.frombuffer(content[: len(content) // 4 * 4], f"{order}u4")


def _damaged(found: str) -> InputError:
    return InputError(f"cannot be read as a MATLAB file: it has {found}; copy or write it again")
