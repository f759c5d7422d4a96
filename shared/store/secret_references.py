"""The secrets of feeds and connections, where only they change: the declaration means what it meant before.

So its version stays, and whoever read it may still change it.
"""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from shared.catalog import Connection
from shared.feed import Feed
from shared.secret_fields import secrets_of
from shared.store.records import read, table_of

Holder = type[Feed] | type[Connection]
_HOLDERS: Final[tuple[Holder, ...]] = (Feed, Connection)


def holders(connection: sa.Connection) -> list[tuple[Holder, str]]:
    """Give the kind and id of everything that may hold a secret."""
    return [
        (kind, resource_id)
        for kind in _HOLDERS
        for resource_id in connection.scalars(sa.select(table_of(kind)[0].c.id).order_by(table_of(kind)[0].c.id))
    ]


def lock(connection: sa.Connection, kind: Holder, resource_id: str) -> Feed | Connection | None:
    """Give a resource that nobody changes until the transaction ends; ``None`` where it is gone."""
    table, _ = table_of(kind)
    query = sa.select(table.c.document).where(table.c.id == resource_id).with_for_update(key_share=True)
    document = connection.scalar(query)
    return None if document is None else read(kind, document)


def replace(connection: sa.Connection, resource: Feed | Connection, references: Mapping[str, str]) -> None:
    """Put other references in the place of some secrets of a locked resource, and change nothing else."""
    if not references:
        return
    table, _ = table_of(type(resource))
    document: sa.ColumnElement[object] = table.c.document
    for path, reference in references.items():
        place = sa.cast(path.split("."), sa.ARRAY(sa.Text))
        document = sa.func.jsonb_set(document, place, sa.func.to_jsonb(sa.cast(reference, sa.Text)))
    connection.execute(sa.update(table).where(table.c.id == resource.id).values(document=document))


def of_all(connection: sa.Connection) -> list[tuple[str, str]]:
    """Give every secret's place, such as ``feed main: api_secret``, and the reference that stands there."""
    found = []
    for kind in _HOLDERS:
        table, noun = table_of(kind)
        for document in connection.scalars(sa.select(table.c.document).order_by(table.c.id)):
            resource = read(kind, document)
            found += [(f"{noun} {resource.id}: {path}", text) for path, text in secrets_of(resource).items()]
    return found
