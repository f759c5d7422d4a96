"""Tables of instants by pipeline and a key of 128 bits: looked up by the index, written a chunk's worth at a time."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert

from shared.store.ground import INSTANT

Key = TypeVar("Key", bound=UUID)


def look_up(
    connection: sa.Connection, key: sa.Column[Any], pipeline_id: str, keys: Iterable[Key]
) -> dict[Key, datetime]:
    """Give the instants of those keys that a pipeline has; ``key`` is the column of the table that holds them."""
    table = key.table
    given = sa.func.unnest(sa.literal(list(keys), ARRAY(sa.Uuid))).table_valued("key").render_derived()
    # Each by the index, whatever the planner thinks of reading a table of millions once: LIMIT leaves it no choice.
    of_key = (
        sa.select(table.c.iterator_at).where(table.c.pipeline_id == pipeline_id, key == given.c.key).limit(1).lateral()
    )
    found = connection.execute(sa.select(given.c.key, of_key.c.iterator_at).join_from(given, of_key, sa.true()))
    return {key: at for key, at in found.all()}  # noqa: C416 - rows are no pairs to dict()


def insert_all(key: sa.Column[Any], pipeline_id: str, instants: Mapping[Key, datetime | None]) -> Insert:
    """Give the statement that inserts a pipeline's keys and their instants, in this order."""
    keys, times = sa.literal(list(instants), ARRAY(sa.Uuid)), sa.literal(list(instants.values()), ARRAY(INSTANT))
    given = sa.func.unnest(keys, times).table_valued("key", "at").render_derived()
    rows = sa.select(sa.literal(pipeline_id), given.c.key, given.c.at)
    return insert(key.table).from_select(["pipeline_id", key.name, "iterator_at"], rows)
