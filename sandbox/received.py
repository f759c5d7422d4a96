"""Which ``source_request_id`` was taken, how often, and whether with the same content each time.

Millions of ids fit: one that ends in ``:`` and a number, as a batch's id does that is a chunk and a row, takes 8 bytes
in a page of 64 neighbours, about 11 with everything around it. Any other id takes an entry of a dictionary.

A record is one number: 56 bits of the content's hash, a bit for the historical path, 7 bits of a count.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import xxhash

COUNTED_TO: Final = 127
"""A count stops here."""

_HISTORICAL: Final = 0x80
_COUNT: Final = 0x7F
_CONTENT: Final = ~0xFF
_PAGE_BITS: Final = 6
_EMPTY_PAGE: Final = bytes(8 << _PAGE_BITS)
_IN_PAGE: Final = (1 << _PAGE_BITS) - 1
_DIGITS: Final = 18


class Sighting(Enum):
    """What an id turned out to be."""

    FIRST = auto()
    REPEATED = auto()
    CONFLICTING = auto()


@dataclass(frozen=True, slots=True)
class ReceivedId:
    """An id that was taken; ``times`` stops at 127, ``historical`` tells where it came first."""

    source_request_id: str
    times: int
    historical: bool


class ReceivedIds:
    """The ids that one API key has sent."""

    def __init__(self) -> None:
        self._pages: dict[str, dict[int, array[int]]] = {}
        self._others: dict[str, int] = {}

    def note(self, source_request_id: str, content: bytes, *, historical: bool) -> Sighting:
        """Count an id, and tell whether it is new and whether its content is what came with it first."""
        mark = xxhash.xxh3_64_intdigest(content) & _CONTENT
        first = mark | _HISTORICAL | 1 if historical else mark | 1
        prefix, colon, row = source_request_id.rpartition(":")
        if not (colon and _is_plain_number(row)):
            record = self._others.get(source_request_id, 0)
            self._others[source_request_id] = _again(record) if record else first
            return _compare(record, mark)
        pages = self._pages.get(prefix)
        if pages is None:
            pages = self._pages[prefix] = {}
        number = int(row)
        page = pages.get(number >> _PAGE_BITS)
        if page is None:
            page = pages[number >> _PAGE_BITS] = array("Q", _EMPTY_PAGE)
        record = page[number & _IN_PAGE]
        page[number & _IN_PAGE] = _again(record) if record else first
        return _compare(record, mark)

    def starting_with(self, prefix: str) -> Iterator[ReceivedId]:
        """Give the ids that start with a text, in no order; whether ids noted meanwhile are among them is open."""
        for source_request_id, record in list(self._others.items()):
            if source_request_id.startswith(prefix):
                yield _read(source_request_id, record)
        for before, pages in list(self._pages.items()):
            stem = f"{before}:"
            if not stem.startswith(prefix) and not prefix.startswith(stem):
                continue
            for page_no, page in list(pages.items()):
                for at, record in enumerate(page):
                    source_request_id = f"{stem}{(page_no << _PAGE_BITS) + at}"
                    if record and source_request_id.startswith(prefix):
                        yield _read(source_request_id, record)


def _is_plain_number(text: str) -> bool:
    """Tell whether ``str(int(text)) == text``, so that no two ids share a place."""
    return text.isdecimal() and text.isascii() and (text[0] != "0" or text == "0") and len(text) <= _DIGITS


def _again(record: int) -> int:
    return record + 1 if record & _COUNT < COUNTED_TO else record


def _compare(record: int, mark: int) -> Sighting:
    if not record:
        return Sighting.FIRST
    return Sighting.REPEATED if record & _CONTENT == mark else Sighting.CONFLICTING


def _read(source_request_id: str, record: int) -> ReceivedId:
    return ReceivedId(source_request_id, record & _COUNT, bool(record & _HISTORICAL))
