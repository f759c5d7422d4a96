"""The names of events and screens that a workspace has, in the order in which they were first sent.

mParticle takes so many distinct names and drops the events of any other. A name gets its place when it is first seen
and keeps it, so that the same names are beyond the limit today and tomorrow, whichever worker asks.

The usual chunk has no new name: then one query is all. Where one is new, its workspace is locked until the transaction
ends; so register in a transaction that does nothing else.
"""

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from shared.limits import MOST_EVENT_NAMES, NAME_MAX_CHARS, EventName
from shared.store import locks
from shared.store.locks import LockOfEach
from shared.store.name_tables import event_names

KEPT_BEYOND: Final = 1000
"""Names beyond the limit that are kept all the same, for whoever wants to know which they are."""


def register(
    connection: sa.Connection,
    workspace: str,
    names: Collection[EventName],
    *,
    limit: int = MOST_EVENT_NAMES,
    kept_beyond: int = KEPT_BEYOND,
) -> set[EventName]:
    """Give each new name its place, and say which of the names are beyond the limit.

    Safe to repeat: places never change. Names that differ only behind their first 256 characters are one, as they are
    to mParticle. Once the workspace has ``kept_beyond`` names beyond its limit, no more are kept; those are beyond it.
    """
    kept_as = {name: _kept(name) for name in names}
    wanted = set(kept_as.values())
    places = _places(connection, workspace, wanted)
    if len(places) < len(wanted):
        most = limit + kept_beyond
        if _count(connection, workspace) < most:
            locks.take_of(connection, LockOfEach.EVENT_NAMES, workspace)
            # Others may have registered some of them while this one waited.
            places = _places(connection, workspace, wanted)
            places |= _add(connection, workspace, sorted(wanted - places.keys()), most)
    return {name for name, kept in kept_as.items() if places.get(kept, limit + 1) > limit}


def _kept(name: EventName) -> EventName:
    # PostgreSQL's texts cannot hold this one character.
    return EventName(name.kind, name.name[:NAME_MAX_CHARS].replace("\0", "\ufffd"))


def _places(connection: sa.Connection, workspace: str, names: Collection[EventName]) -> dict[EventName, int]:
    ordered = sorted(names)
    kinds = sa.literal([name.kind for name in ordered], ARRAY(sa.Text))
    texts = sa.literal([name.name for name in ordered], ARRAY(sa.Text))
    asked = sa.func.unnest(kinds, texts).table_valued("kind", "name", name="asked").render_derived()
    rows = connection.execute(
        sa.select(event_names.c.kind, event_names.c.name, event_names.c.ordinal)
        .join(asked, (event_names.c.kind == asked.c.kind) & (event_names.c.name == asked.c.name))
        .where(event_names.c.workspace == workspace)
    )
    return {EventName(row.kind, row.name): row.ordinal for row in rows}


def _count(connection: sa.Connection, workspace: str) -> int:
    last = sa.select(sa.func.max(event_names.c.ordinal)).where(event_names.c.workspace == workspace)
    return connection.scalar(last) or 0


def _add(connection: sa.Connection, workspace: str, names: list[EventName], most: int) -> dict[EventName, int]:
    """Give new names the next places, as far as there is room; the workspace is locked."""
    first = _count(connection, workspace) + 1
    added = {name: first + number for number, name in enumerate(names[: max(0, most + 1 - first)])}
    if added:
        connection.execute(
            sa.insert(event_names),
            [
                {"workspace": workspace, "kind": name.kind, "name": name.name, "ordinal": ordinal}
                for name, ordinal in added.items()
            ],
        )
    return added
