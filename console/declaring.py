"""The verbs of declarations: plan them, apply them, give them as a document; all of them, or none."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel

from console.applying import Asking, Outcome, carry_out
from console.changes import refusal_of
from console.declarations import REFERENCES, Declarations, Resource
from console.exporting import document_of
from console.planning import Plan
from console.stored import stored_resources
from shared.catalog import Connection, Pipeline
from shared.credentials import require_allowed_host, require_allowed_warehouse, resolve
from shared.errors import (
    ChangedMeanwhile,
    CredentialsRefused,
    NotFound,
    RightsMissing,
    SecretUnavailable,
    WarehouseUnreachable,
)
from shared.feed import Feed
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

    def plan(self, document: Declarations, *, prune: bool = False, watermark: Watermark | None = None) -> Plan:
        """Give what :meth:`apply` would do, with everything that would be refused; nothing is changed.

        It is really done, in a transaction that is rolled back. With ``prune``, what it leaves out is deleted.

        Raises:
            ChangedMeanwhile: somebody changed a declaration at the same time.
        """
        with self._database.transaction() as connection:
            tried = connection.begin_nested()
            try:
                return self._carry_out(connection, document, prune=prune, watermark=watermark).plan
            finally:
                tried.rollback()

    def apply(
        self,
        document: Declarations,
        *,
        prune: bool = False,
        watermark: Watermark | None = None,
        expected: str | None = None,
    ) -> Plan:
        """Do all that a document says, or nothing, and give what was done; ``expected`` is what was shown, by digest.

        Repeating it changes nothing. Where something changed for want of which runs had failed, those are reopened.

        Raises:
            ChangedMeanwhile: it would not do what was shown.
            Refused: something cannot be; the sentence names all that cannot.
            BrokerUnavailable: it is done; what it reopened begins once the broker is back.
        """
        with self._database.transaction() as connection:
            outcome = self._carry_out(connection, document, prune=prune, watermark=watermark)
            if expected is not None and outcome.plan.digest != expected:
                raise ChangedMeanwhile(
                    "what is declared was changed since this was planned, so that applying it would do something else; "
                    "look at the plan again"
                )
            if (refusal := refusal_of(outcome.plan)) is not None:
                raise refusal
        self._send(outcome.asked)
        return outcome.plan

    def export(self, kind: type[BaseModel] | None = None, pipeline_id: str | None = None) -> dict[str, list[Any]]:
        """Give what is declared as a document: everything, one kind, or a pipeline with all that it needs.

        Raises:
            NotFound: there is no such pipeline.
        """
        with self._database.transaction() as connection:
            found = stored_resources(connection)
        if pipeline_id is not None:
            if (Pipeline, pipeline_id) not in found:
                raise NotFound(f"there is no pipeline {pipeline_id!r}; `warehouse-sync pipelines` lists them")
            pipeline = found[Pipeline, pipeline_id].resource
            needed = {(kind, getattr(pipeline, name)) for name, kind in REFERENCES.items()}
            found = {key: one for key, one in found.items() if key in needed or key == (Pipeline, pipeline_id)}
        resources = [one.resource for key, one in found.items() if kind is None or key[0] is kind]
        return document_of(resources, {key[1]: one.state for key, one in found.items() if one.state is not None})

    def _carry_out(
        self, connection: sa.Connection, document: Declarations, *, prune: bool, watermark: Watermark | None
    ) -> Outcome:
        asking = Asking(prune, watermark, self._settings.run_window_chunks, self._require_allowed, self._reopen)
        return carry_out(connection, document, asking)

    def _require_allowed(self, resource: Resource) -> None:
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
        asked.append(self._reopen(connection, resource))
        return True

    def _reopen(self, connection: sa.Connection, resource: DeclaredResource) -> Asked:
        """Reopen the runs that failed for want of what a resource now says."""
        users = declared.users_of(connection, resource)
        return moves.reopen_corrected(connection, users, _CORRECTABLE, window_chunks=self._settings.run_window_chunks)

    def _check_key(self, connection: Connection) -> None:
        """Compare a service account with its key where this process can see the key; workers always do."""
        if isinstance(connection.config, BigQueryConfig):
            with suppress(SecretUnavailable):
                reference = connection.config.service_account_key
                key = resolve(reference, self._settings, purpose=purpose(connection))
                read_key(connection.id, connection.config, key)
