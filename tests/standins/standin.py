"""What a warehouse under test must offer: how to fill it and sign in, and the SQL that differs between dialects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from shared.catalog import Connection


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows are many here: stand-ins that keep a whole result in memory cannot have as many as others.

    ``unread``: far more than a test reads. ``lasting``: takes seconds to run or to read, at least. ``tick_ns``: how far
    apart two timestamps are at least, in nanoseconds.
    """

    unread: int = 50_000_000
    lasting: int = 10**12
    tick_ns: int = 1


@dataclass(frozen=True, slots=True)
class Differences:
    """Where a warehouse is not like the others, and why; its module has one as ``DIFFERENCES``.

    ``lacks``: tests of the suite, or values of their parameters, that have no meaning there. ``held_otherwise``:
    columns of ``test_types`` that arrive in another type or as other values, and these. ``locates_failures``: whether a
    row that fails is told with its place in the query. ``keeps_mib``: what an engine in the reader's own process may
    keep in memory of what it has read.
    """

    lacks: Mapping[str, str] = field(default_factory=dict)
    held_otherwise: Mapping[str, tuple[Any, list[Any]]] = field(default_factory=dict)
    locates_failures: bool = True
    keeps_mib: int = 0


class Standin(Protocol):
    """A running server that a vendor's unmodified client talks to, or an embedded warehouse."""

    name: str
    sizes: Sizes
    endless: str
    """A query with one integer column ``id`` that runs for very long before its first row."""
    is_continuable: bool
    """Whether a result can be continued at a position."""

    def connection(self) -> Connection:
        """Give the declaration of a connection to it, with the id ``subject``."""

    def variables(self) -> Mapping[str, str]:
        """Give the environment that a worker needs for that: secrets, allowed hosts and folders."""

    def load(self, name: str, table: pa.Table) -> None:
        """Make a table of that name, which SQL may use unqualified; one that exists is replaced."""

    def numbers(self, count: int) -> str:
        """Give a query with one integer column ``id``, from 0 to ``count`` - 1."""

    def failing(self, *, at: int, count: int, secret: str) -> str:
        """Give a query over that many rows that cannot cast ``secret`` to an integer at one, on its second line."""

    def running_queries(self) -> int:
        """Say how many queries of ours the server is working on now."""
