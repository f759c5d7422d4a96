"""What a deployment has declared, read at once, to be compared with what a document says."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from console.declarations import KINDS, Resource
from shared.catalog import Connection, DataModel, Pipeline
from shared.feed import Feed
from shared.run import PipelineState
from shared.store import declared, records
from shared.store.declared import DeclaredResource
from shared.transformation import FieldTransformation

Key = tuple[type[BaseModel], str]
"""A kind and an id."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A declaration as it is in the store."""

    resource: Resource
    version: int
    state: PipelineState | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The declaration as JSON."""
        return self.resource.model_dump(mode="json")


def stored_resources(connection: sa.Connection) -> dict[Key, Stored]:
    """Give everything that is declared, what is referred to first, by kind and id."""
    resources: list[DeclaredResource] = [
        *declared.list_all(connection, Feed),
        *declared.list_all(connection, Connection),
        *declared.list_all(connection, DataModel),
        *declared.list_all(connection, FieldTransformation),
    ]
    versions = {kind: records.of_all(connection, kind) for kind in KINDS.values()}
    found: dict[Key, Stored] = {
        (type(one), one.id): Stored(one, versions[type(one)][one.id].version) for one in resources
    }
    for row in declared.list_pipelines(connection):
        version = versions[Pipeline][row.pipeline.id].version
        found[Pipeline, row.pipeline.id] = Stored(row.pipeline, version, row.state)
    return found
