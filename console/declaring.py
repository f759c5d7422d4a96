"""The verb of declarations: all of them, or none."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import sqlalchemy as sa

from shared.catalog import Connection, Feed, Pipeline
from shared.credentials import require_allowed_host, require_allowed_warehouse, resolve
from shared.errors import CredentialsRefused, RightsMissing, SecretUnavailable, WarehouseUnreachable
from shared.providers.bigquery import BigQueryConfig, read_key
from shared.run import RunId
from shared.secret_fields import purpose
from shared.settings import Settings
from shared.store import declared, edits, moves
from shared.store.asked import Asked, together
from shared.store.database import Database
from shared.store.declared import DeclaredResource
from shared.store.edits import Watermark

_CORRECTABLE: Final = (
    CredentialsRefused.__name__,
    RightsMissing.__name__,
    SecretUnavailable.__name__,
    WarehouseUnreachable.__name__,
)
"""Failures that a corrected feed or connection can cure."""


class Declaring:
    """Declarations, bound to one state database; ``send`` sends what a request came to."""

    def __init__(self, database: Database, settings: Settings, send: Callable[[Asked], tuple[RunId, ...]]) -> None:
        self._database = database
        self._settings = settings
        self._send = send

    def all(
        self,
        resources: Sequence[DeclaredResource | Pipeline],
        watermark: Watermark | None = None,
        *,
        guard: Callable[[sa.Connection], object] | None = None,
    ) -> list[bool]:
        """Insert or replace resources, all or none, and say of each whether anything changed.

        Where a feed or a connection changed, runs that failed for want of it are reopened. An open run keeps its
        snapshot. ``watermark`` says what becomes of it where an edit makes that a question. What ``guard``
        raises, first in the same transaction, keeps everything as it is.

        Raises:
            NotFound: a pipeline names something that was never declared.
            MoveNotAllowed: a stopped run would go on under what it was planned with; retry or abandon it first.
            DeclarationInvalid: the edit asks what becomes of a watermark; a feed's or a connection's host is not
                allowed; or a service account's key is another's.
        """
        for resource in resources:
            self._require_allowed(resource)
        asked: list[Asked] = []
        with self._database.transaction() as connection:
            if guard is not None:
                guard(connection)
            changed = [self._put(connection, resource, watermark, asked) for resource in resources]
        self._send(together(asked))
        return changed

    def _require_allowed(self, resource: DeclaredResource | Pipeline) -> None:
        if isinstance(resource, Feed):
            require_allowed_host(resource, self._settings)
        if isinstance(resource, Connection):
            require_allowed_warehouse(resource, self._settings)
            self._check_key(resource)

    def _put(
        self,
        connection: sa.Connection,
        resource: DeclaredResource | Pipeline,
        watermark: Watermark | None,
        asked: list[Asked],
    ) -> bool:
        """Put one resource; what that reopens is added to ``asked``."""
        if isinstance(resource, Pipeline):
            return edits.put_pipeline(connection, resource, watermark)
        if not edits.put(connection, resource, watermark):
            return False
        users = declared.users_of(connection, resource)
        asked.append(
            moves.reopen_corrected(connection, users, _CORRECTABLE, window_chunks=self._settings.run_window_chunks)
        )
        return True

    def _check_key(self, connection: Connection) -> None:
        """Compare a service account with its key where this process can see the key; workers always do."""
        if isinstance(connection.config, BigQueryConfig):
            with suppress(SecretUnavailable):
                reference = connection.config.service_account_key
                key = resolve(reference, self._settings, purpose=purpose(connection))
                read_key(connection.id, connection.config, key)
