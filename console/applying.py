"""Declarations on their way into the store, within one transaction: what is asked for, what became of it, and why not.

Everything is tried, each on a savepoint of its own, so that all refusals are known and not only the first. Whoever
wants to know what would happen rolls back; whoever wants it to happen commits if nothing was refused.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import sqlalchemy as sa
from pydantic import BaseModel

from console.changes import called, change_of, completed, deletion_of
from console.declarations import KINDS, REFERENCES, Declarations, Resource
from console.planning import Action, Change, FieldChange, Plan
from console.stored import Key, stored_resources
from shared.catalog import Connection, Pipeline
from shared.errors import ChangedMeanwhile, DeclarationInvalid, MoveNotAllowed, NotFound, Refused, WatermarkUndecided
from shared.feed import Feed
from shared.run import PipelineState
from shared.secret_fields import require_same_destination
from shared.store import declared, edits, lives, locks, records, runs, totals
from shared.store.asked import Asked, together
from shared.store.declared import DeclaredResource
from shared.store.edits import Watermark
from shared.store.locks import Lock
from shared.store.records import table_of

_OF_WATERMARK: Final[Mapping[Watermark, str]] = {
    Watermark.KEEP: "the watermark is kept: what was read under the old declaration counts as read",
    Watermark.RESET: "the watermark is reset: everything is read anew, history first",
}
_ASKS: Final = "asks what becomes of the watermark"


@dataclass(frozen=True, slots=True)
class Asking:
    """How a document is applied: what it leaves out is deleted with ``prune``; ``watermark`` decides where edits ask.

    ``check`` raises where this process may not have a resource declared; ``reopen`` gives the runs that failed for
    want of what a feed or a connection now says.
    """

    prune: bool
    watermark: Watermark | None
    window_chunks: int
    check: Callable[[Resource], None]
    reopen: Callable[[sa.Connection, DeclaredResource], Asked]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What applying a document came to, and what is to be sent if it is committed."""

    plan: Plan
    asked: Asked


def carry_out(connection: sa.Connection, document: Declarations, asking: Asking) -> Outcome:
    """Do all that a document asks for, and say what became of each declaration; the caller commits or rolls back.

    Raises:
        ChangedMeanwhile: somebody changed a declaration between reading and writing it.
    """
    locks.take(connection, Lock.APPLYING)
    if asking.prune or asking.watermark is Watermark.RESET:
        totals.alone(connection)  # Runs of several pipelines may end.
    return _Carrying(connection, document, asking).outcome()


class _Carrying:
    def __init__(self, connection: sa.Connection, document: Declarations, asking: Asking) -> None:
        self._connection = connection
        self._document = document
        self._asking = asking
        self._before = stored_resources(connection)
        self._wanted: dict[Key, Resource] = {(type(one), one.id): one for one in document.in_order()}
        self._changes: dict[Key, Change] = {}
        self._asked: list[Asked] = []

    def outcome(self) -> Outcome:
        unknown = self._unknown()
        steps: dict[Key, Callable[[], Change]] = {}
        pruned = self._left_out() if self._asking.prune else []
        # Pipelines first: what only they use, and their names, are free then.
        steps |= {key: partial(self._delete_pipeline, key) for key in pruned if key[0] is Pipeline}
        for key, resource in self._wanted.items():
            if key in unknown:
                self._changes[key] = self._refused(key, resource, DeclarationInvalid(unknown[key]))
            elif (unchanged := self._unchanged(key, resource)) is not None:
                self._changes[key] = unchanged
            else:
                steps[key] = partial(self._put, key, resource)
        steps |= {key: partial(self._delete, key) for key in pruned if key[0] is not Pipeline}
        self._take(steps)
        for pipeline_id, state in self._document.states.items():
            self._bring(pipeline_id, state)
        return Outcome(Plan(tuple(self._changes[key] for key in (*self._wanted, *pruned))), together(self._asked))

    def _take(self, steps: Mapping[Key, Callable[[], Change]]) -> None:
        """Take all steps, and those that were refused once more while others got further: names may become free."""
        pending = dict(steps)
        while pending:
            refused: dict[Key, Refused] = {}
            for key, step in pending.items():
                try:
                    with self._connection.begin_nested():
                        self._changes[key] = step()
                except ChangedMeanwhile:
                    raise
                except sa.exc.IntegrityError as error:
                    raise ChangedMeanwhile(
                        f"somebody declared {called(key)}, or something of its name, at the same time; try again"
                    ) from error
                except Refused as error:
                    refused[key] = error
            if len(refused) == len(pending):
                for key, refusal in refused.items():
                    self._changes[key] = self._refused(key, self._wanted.get(key), self._cause(key, refusal, refused))
                return
            pending = {key: pending[key] for key in refused}

    def _cause(self, key: Key, error: Refused, refused: Mapping[Key, Refused]) -> Refused:
        """Give why something was refused; where what it is made of was, that is the reason."""
        if isinstance(error, NotFound) and isinstance(pipeline := self._wanted.get(key), Pipeline):
            for name, kind in REFERENCES.items():
                if (needed := (kind, getattr(pipeline, name))) in refused:
                    return NotFound(f"pipeline {pipeline.id!r} needs {called(needed)}, which is refused")
        return error

    def _unknown(self) -> dict[Key, str]:
        known: dict[type[BaseModel], set[str]] = {}
        for kind, resource_id in self._before:
            known.setdefault(kind, set()).add(resource_id)
        told: dict[Key, list[str]] = {}
        for pipeline_id, mistake in self._document.unknown_references(known):
            told.setdefault((Pipeline, pipeline_id), []).append(
                f"{mistake.file}: {mistake}" if mistake.file else str(mistake)
            )
        return {key: "\n".join(lines) for key, lines in told.items()}

    def _left_out(self) -> list[Key]:
        """Give what is stored and not in the document, users before what they use."""
        order = list(KINDS.values())[::-1]
        return sorted(
            (key for key in self._before if key not in self._wanted), key=lambda key: (order.index(key[0]), key[1])
        )

    def _unchanged(self, key: Key, resource: Resource) -> Change | None:
        """Give the change that is none, where a declaration is as the document says."""
        before = self._before.get(key)
        kept = self._document.kept_secrets(resource)
        if before is None:
            return None
        with suppress(Refused):  # Then it is no such thing.
            change = change_of(key, before, completed(resource, kept, before), kept)
            return change if change.action is Action.UNCHANGED else None
        return None

    def _put(self, key: Key, resource: Resource) -> Change:
        before = self._before.get(key)
        kept = self._document.kept_secrets(resource)
        resource = completed(resource, kept, before)
        change = change_of(key, before, resource, kept)
        self._asking.check(resource)
        if isinstance(resource, Feed | Connection):
            stored = before.resource if before is not None else None
            require_same_destination(resource, stored if isinstance(stored, Feed | Connection) else None, kept)
        if before is not None:
            records.require_version(self._connection, key[0], key[1], before.version)
        notes = self._edit(resource)
        if not isinstance(resource, Pipeline):
            reopened = self._asking.reopen(self._connection, resource)
            self._asked.append(reopened)
            if reopened.runs:
                notes += (f"reopens {len(reopened.runs)} failed run{'s' * (len(reopened.runs) > 1)}",)
        if before is None and isinstance(resource, Pipeline) and resource.id not in self._document.states:
            notes += (f"a draft; `warehouse-sync activate {resource.id}` lets it run",)
        return replace(change, notes=change.notes + notes)

    def _edit(self, resource: Resource) -> tuple[str, ...]:
        put = edits.put_pipeline if isinstance(resource, Pipeline) else edits.put
        try:
            put(self._connection, resource, None)  # type: ignore[arg-type] # chosen by what it takes
        except WatermarkUndecided:
            if self._asking.watermark is None:
                raise
            put(self._connection, resource, self._asking.watermark)  # type: ignore[arg-type] # as above
            return (_OF_WATERMARK[self._asking.watermark],)
        return ()

    def _delete_pipeline(self, key: Key) -> Change:
        numbers = sorted(run.number for run in runs.open_of(self._connection, key[1]))
        lives.delete(self._connection, key[1])
        notes = ["its id is not used again; its runs and rejects stay until their retention ends"]
        if numbers:
            named = ", ".join(map(str, numbers))
            notes.insert(
                0, f"is at work: its open runs ({named}) are cancelled, and rows that are not sent end as unsent"
            )
        return deletion_of(key, self._before[key], tuple(notes))

    def _delete(self, key: Key) -> Change:
        before = self._before[key]
        if isinstance(before.resource, Pipeline):
            raise TypeError("pipelines are deleted by their own verb")
        users = set(declared.users_of(self._connection, before.resource, even_deleted=True))
        if users and users.isdisjoint(declared.users_of(self._connection, before.resource)):
            note = f"not declared here, and kept: runs of the deleted pipeline {', '.join(sorted(users))} name it"
            return Change(table_of(key[0])[1], key[1], Action.UNCHANGED, notes=(note,))
        declared.delete(self._connection, type(before.resource), key[1])  # type: ignore[type-var] # any of its kinds
        return deletion_of(key, before, ())

    def _bring(self, pipeline_id: str, state: PipelineState) -> None:
        """Bring a pipeline into the state that it should be in, and note that in its change."""
        key: Key = (Pipeline, pipeline_id)
        change, before = self._changes[key], self._before.get(key)
        if change.refusal is not None:
            return
        was = before.state if before is not None and before.state is not None else PipelineState.DRAFT
        if was is state:
            return
        asked, refusal = Asked((), ()), None
        try:
            with self._connection.begin_nested():
                asked = self._move(pipeline_id, was, state)
        except Refused as error:
            refusal = error
        self._asked.append(asked)
        self._changes[key] = replace(
            change,
            action=Action.CHANGE if change.action is Action.UNCHANGED else change.action,
            fields=(*change.fields, FieldChange("state", str(was) if before else None, str(state))),
            mark=f"{change.mark} {was} {state}",
            refusal=str(refusal) if refusal else None,
            error_kind=type(refusal).__name__ if refusal else None,
        )

    def _move(self, pipeline_id: str, was: PipelineState, state: PipelineState) -> Asked:
        match was, state:
            case PipelineState.PAUSED, PipelineState.ACTIVE:
                return lives.resume(self._connection, pipeline_id, window_chunks=self._asking.window_chunks)
            case _, PipelineState.DRAFT:
                raise MoveNotAllowed(
                    f"pipeline {pipeline_id!r} is {was} and cannot become a draft again; say `state: paused`, or leave "
                    "`state` out"
                )
            case PipelineState.DRAFT, _:
                lives.activate(self._connection, pipeline_id)
        if state is PipelineState.PAUSED:
            lives.pause(self._connection, pipeline_id)
        return Asked((), ())

    def _refused(self, key: Key, resource: Resource | None, error: Refused) -> Change:
        before = self._before.get(key)
        if resource is None:
            change = Change(table_of(key[0])[1], key[1], Action.DELETE)
        else:
            kept = self._document.kept_secrets(resource)
            with suppress(Refused):  # Then it is shown as it stands in the document.
                resource = completed(resource, kept, before)
            change = change_of(key, before, resource, kept)
        notes = (_ASKS,) if isinstance(error, WatermarkUndecided) else ()
        return replace(change, notes=change.notes + notes, refusal=str(error), error_kind=type(error).__name__)
