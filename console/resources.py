"""The verbs of one declaration: look at it with its record, create, replace and delete it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic

import sqlalchemy as sa

from console.declaring import Declaring
from shared.errors import CredentialsRefused, NotFound, RightsMissing, SecretUnavailable, WarehouseUnreachable
from shared.run import STOPPED, PipelineState
from shared.store import declared, records
from shared.store.database import Database
from shared.store.declared import Declaration, DeclaredResource, Resource
from shared.store.declared_tables import pipelines
from shared.store.edits import Watermark
from shared.store.records import Record
from shared.store.tables import runs

CONNECTION_FAULTS: Final = tuple(
    kind.__name__ for kind in (CredentialsRefused, RightsMissing, SecretUnavailable, WarehouseUnreachable)
)
"""What a run stops for when its connection is not as it should be."""


@dataclass(frozen=True, slots=True)
class Recorded(Generic[Declaration]):
    """A declaration and its record."""

    resource: Declaration
    record: Record


@dataclass(frozen=True, slots=True)
class Use:
    """What pipelines make of a connection: the states of those that use it, and why their runs stopped for it."""

    states: frozenset[PipelineState]
    faults: tuple[str, ...]


class Resources:
    """The verbs of what is declared, bound to one state database; those of pipelines alone are ``Operations``'."""

    def __init__(self, database: Database, declaring: Declaring) -> None:
        """Take what ``Operations`` holds."""
        self._database = database
        self._declaring = declaring

    def get(self, kind: type[Declaration], resource_id: str) -> Recorded[Declaration]:
        """Give one, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            record = records.of(connection, kind, resource_id)  # What was deleted has none.
            return Recorded(declared.get(connection, kind, resource_id), record)

    def find(self, kind: type[Declaration], resource_id: object) -> Recorded[Declaration] | None:
        """Give one, or ``None`` where there is none; a document may name anything for an id."""
        if not isinstance(resource_id, str):
            return None
        try:
            return self.get(kind, resource_id)
        except NotFound:
            return None

    def all(self, kind: type[Resource]) -> list[Recorded[Resource]]:
        """Give all of a kind by id."""
        with self._database.transaction() as connection:
            known = records.of_all(connection, kind)
            return [Recorded(one, known[one.id]) for one in declared.list_all(connection, kind)]

    def create(self, resource: Declaration) -> Recorded[Declaration]:
        """Declare a new one; the same once more changes nothing.

        Raises:
            AlreadyDeclared: something else has its id.
            DeclarationInvalid: its name is another's, or it cannot be so.
        """
        self._declaring.all([resource], guard=lambda connection: records.require_new(connection, resource, resource.id))
        return self.get(type(resource), resource.id)

    def replace(
        self, resource: Declaration, *, version: int | None = None, watermark: Watermark | None = None
    ) -> Recorded[Declaration]:
        """Replace one that is there, of the ``version`` that was read where one is given.

        Raises:
            NotFound: there is none.
            ChangedMeanwhile: somebody changed it since.
            MoveNotAllowed, DeclarationInvalid: as of ``Declaring.all``.
        """

        def guard(connection: sa.Connection) -> None:
            records.of(connection, type(resource), resource.id)
            if version is not None:
                records.require_version(connection, type(resource), resource.id, version)

        self._declaring.all([resource], watermark, guard=guard)
        return self.get(type(resource), resource.id)

    def delete(self, kind: type[Resource], resource_id: str, *, version: int | None = None) -> None:
        """Remove one that nothing uses; errors as of ``shared.store.declared.delete``, and ``ChangedMeanwhile``."""
        with self._database.transaction() as connection:
            declared.get(connection, kind, resource_id)
            if version is not None:
                records.require_version(connection, kind, resource_id, version)
            declared.delete(connection, kind, resource_id)

    def users_of(self, resource: DeclaredResource) -> list[str]:
        """Give the pipelines that use a resource, by id."""
        with self._database.transaction() as connection:
            return declared.users_of(connection, resource)

    def uses_of_connections(self) -> Mapping[str, Use]:
        """Say of every connection that some pipeline uses what they make of it."""
        query = (
            sa.select(pipelines.c.connection_id, pipelines.c.state, runs.c.error)
            .outerjoin(
                runs,
                sa.and_(
                    runs.c.pipeline_id == pipelines.c.id,
                    runs.c.state.in_(STOPPED),
                    runs.c.error_kind.in_(CONNECTION_FAULTS),
                ),
            )
            .where(pipelines.c.state != PipelineState.DELETED)
            .order_by(pipelines.c.connection_id, pipelines.c.id)
        )
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
        return {
            name: Use(
                frozenset(PipelineState(row.state) for row in rows if row.connection_id == name),
                tuple(dict.fromkeys(row.error for row in rows if row.connection_id == name and row.error)),
            )
            for name in {row.connection_id for row in rows}
        }
