"""What blobs promise, wherever they rest.

A name is relative and has ``/`` between its parts. A blob appears whole or not at all and is never written twice.
Blobs hold personal data, so what is made here is its owner's alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Group:
    """A folder of blobs, and when one was last added (UTC; a bucket's own clock)."""

    name: str
    modified_at: datetime


class Blobs(Protocol):
    """Where blobs rest; safe to use from several threads and, opened after a fork, processes."""

    def put(self, name: str, content: pa.Buffer) -> None:
        """Write a new blob; it survives a crash of the machine.

        Raises:
            SpoolUnavailable: the disk is full or does not answer.
            SpoolUnwritable: writing is not allowed.
        """

    def get(self, name: str) -> pa.Buffer | None:
        """Read a blob; None where there is none.

        Raises:
            SpoolUnavailable: the disk or bucket does not answer.
            SpoolUnwritable: reading is not allowed.
        """

    def has(self, name: str) -> bool:
        """Say whether there is such a blob.

        Raises:
            SpoolUnavailable: the disk or bucket does not answer.
            SpoolUnwritable: reading is not allowed.
        """

    def agree(self, name: str, own: str) -> str:
        """Give the small text under this name, writing ``own`` where there is none; all who ask get the same.

        Raises:
            SpoolUnavailable: the disk or bucket does not answer.
            SpoolUnwritable: it cannot be written.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs; those that do not exist are as removed as the others."""

    def remove_group(self, name: str) -> None:
        """Remove a folder with everything in it, if it exists."""

    def groups(self, name: str) -> Iterator[Group]:
        """List the folders that hold blobs two levels below this one, in no order."""


def parts_of(name: str) -> list[str]:
    """Give the parts of a blob's name, or raise ``ValueError`` where it is none."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{name!r} is not a blob's name")
    return parts
