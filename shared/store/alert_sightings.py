"""What is the matter now, as the store shows it: a fixed number of queries, however many pipelines and runs there are.

None reads all runs: what is open, what was settled last on each lane, and what ended within a day has an index each.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from shared.alerts import AlertName, Condition, Mark
from shared.errors import CredentialsRefused, FeedSignInRefused, SecretUnavailable
from shared.run import OPEN, Lane, PipelineState, RunKind, RunState
from shared.store.access_tables import audit
from shared.store.alert_tables import alerts
from shared.store.history_tables import backfills
from shared.store.notices import NoticeName
from shared.store.tables import notices, pipelines, runs

EVENTS_SEEN_FOR: Final = timedelta(days=1)
"""An event is looked for so long. Alerts are kept for at least twice that, and so none is told again."""
FEWEST_JUDGED: Final = 100
"""Rows that a run at work must have read before the share of its rejects is judged. Ours, and a guess."""
FRESH: Final = timedelta(hours=1)
"""What was read to within this is not stale by any schedule; only a pipeline's own ``stale_after`` may be shorter."""
SIGN_INS: Final = frozenset({CredentialsRefused.__name__, FeedSignInRefused.__name__, SecretUnavailable.__name__})
_HOLDS: Final[Mapping[str, AlertName]] = {"volume_unusual": AlertName.VOLUME_UNUSUAL}
_COUNTS: Final = ("extracted", "accepted", "rejected", "unchanged", "superseded", "unsent")

_NAME: Final = pipelines.c.document["name"].astext
_POLICY: Final = pipelines.c.document["alerts"]
_MUTED: Final = sa.func.coalesce(_POLICY["mute"], sa.text("'[]'::jsonb"))
_IS_DECLARED: Final = pipelines.c.state != PipelineState.DELETED


def conditions(connection: sa.Connection, *, rejected_ratio: float) -> list[Condition]:
    """Give all that is the matter, save what is stale: for that, ``marks`` are judged by their schedules."""
    return [
        *_failed(connection),
        *_held(connection),
        *_faulted(connection),
        *_rejections(connection, rejected_ratio),
        *_resyncs(connection),
        *_finished(connection),
    ]


def marks(connection: sa.Connection) -> list[Mark]:
    """Give how far active pipelines have read, of those that may be stale."""
    kind = pipelines.c.document["schedule"]["type"].astext
    is_full = pipelines.c.document["sync_mode"]["type"].astext == "full"
    stale_after = _POLICY["stale_after"].astext
    settled = (
        sa.select(runs.c.ended_at)
        .where(runs.c.pipeline_id == pipelines.c.id, runs.c.lane == Lane.LIVE, runs.c.state == RunState.SETTLED)
        .order_by(runs.c.ended_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    begun = (
        sa.select(audit.c.noted_at)
        .where(
            audit.c.kind == "pipeline",
            audit.c.subject == pipelines.c.id,
            audit.c.action.in_(("activated", "resumed")),
        )
        .order_by(audit.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    read_to = sa.case((is_full, settled), else_=pipelines.c.watermark)
    known = (
        sa.select(
            pipelines.c.id,
            _NAME.label("name"),
            _MUTED.label("muted"),
            pipelines.c.document["schedule"].label("schedule"),
            pipelines.c.document["sync_mode"].label("sync_mode"),
            stale_after.label("stale_after"),
            read_to.label("read_to"),
            sa.func.coalesce(begun, pipelines.c.created_at).label("begun_at"),
            pipelines.c.next_due_at,
        )
        .where(
            pipelines.c.state == PipelineState.ACTIVE,
            sa.or_(stale_after.is_not(None), kind.not_in(("on_demand", "once"))),
        )
        .subquery()
    )
    is_fresh = sa.and_(known.c.stale_after.is_(None), known.c.read_to > sa.func.now() - FRESH)
    query = sa.select(known).where(sa.func.coalesce(~is_fresh, sa.true()))
    return [
        Mark(
            pipeline_id=row.id,
            pipeline_name=row.name,
            schedule=row.schedule,
            sync_mode=row.sync_mode,
            read_to=row.read_to,
            begun_at=row.begun_at,
            next_due_at=row.next_due_at,
            stale_after=row.stale_after,
            is_muted=AlertName.STALE in row.muted,
        )
        for row in connection.execute(query)
    ]


def _of_runs(*more: Any) -> sa.Select[Any]:
    return sa.select(
        runs.c.id,
        runs.c.number,
        runs.c.pipeline_id,
        runs.c.lane,
        runs.c.error_kind,
        runs.c.error,
        sa.func.coalesce(runs.c.ended_at, runs.c.started_at, runs.c.created_at).label("since"),
        *(runs.c[name] for name in _COUNTS),
        _NAME.label("name"),
        _MUTED.label("muted"),
        *more,
    ).join(pipelines, pipelines.c.id == runs.c.pipeline_id)


def _of_run(name: AlertName, row: Any, sentence: str, **more: Any) -> Condition:
    return Condition(
        **{
            "name": name,
            "subject": str(row.id),
            "pipeline_id": row.pipeline_id,
            "pipeline_name": row.name,
            "sentence": sentence,
            "since": row.since,
            "run_id": row.id,
            "run_number": row.number,
            "counts": counts_of(row),
            "is_muted": name in row.muted,
            **more,
        }
    )


def counts_of(row: Any) -> dict[str, int]:
    """Give what became of the rows of a run, or of several; what became of none is left out."""
    return {name: int(count) for name in _COUNTS if (count := getattr(row, name))}


def _counted(count: int, noun: str) -> str:
    return f"{int(count):,} {noun}{'' if count == 1 else 's'}"


def _failed(connection: sa.Connection) -> list[Condition]:
    """Give each failed run, and once more those whose sign-in was refused."""
    query = _of_runs().where(runs.c.state == RunState.FAILED, _IS_DECLARED)
    found = connection.execute(query).all()
    return [
        _of_run(name, row, row.error or "", kind=row.error_kind)
        for row in found
        for name in (AlertName.RUN_FAILED, AlertName.CREDENTIALS_REFUSED)
        if name is AlertName.RUN_FAILED or row.error_kind in SIGN_INS
    ]


def _held(connection: sa.Connection) -> list[Condition]:
    """Give the runs that wait for an operator's word."""
    held = (runs.c.held_at, runs.c.held_for, runs.c.held_reason)
    query = _of_runs(*held).where(runs.c.state == RunState.CANCELLED, runs.c.held_at.is_not(None), _IS_DECLARED)
    return [
        _of_run(
            _HOLDS.get(row.held_for, AlertName.RUN_HELD), row, row.held_reason, since=row.held_at, kind=row.held_for
        )
        for row in connection.execute(query)
    ]


def _faulted(connection: sa.Connection) -> list[Condition]:
    query = sa.select(
        pipelines.c.id,
        _NAME.label("name"),
        _MUTED.label("muted"),
        pipelines.c.faulted_reason,
        sa.func.now().label("now"),
    ).where(pipelines.c.faulted_reason.is_not(None), _IS_DECLARED)
    return [
        Condition(
            name=AlertName.PIPELINE_FAULTED,
            subject=row.id,
            pipeline_id=row.id,
            pipeline_name=row.name,
            sentence=row.faulted_reason,
            since=row.now,
            is_muted=AlertName.PIPELINE_FAULTED in row.muted,
        )
        for row in connection.execute(query)
    ]


def _rejections(connection: sa.Connection, ratio: float) -> list[Condition]:
    """Give, by pipeline and lane, the run that rejects too much: one that is open, or else the one settled last.

    On the backfill lane, where none may follow for long, that counts for a day. Replays are looked at by whoever
    asked for them.
    """
    allowed = sa.func.coalesce(sa.cast(_POLICY["max_rejected_ratio"].astext, sa.Float), ratio)
    lanes = sa.values(sa.column("lane", sa.Text), name="lanes").data([(lane.value,) for lane in Lane])
    newest = (
        sa.select(runs.c.id)
        .where(
            runs.c.pipeline_id == pipelines.c.id,
            runs.c.lane == lanes.c.lane,
            runs.c.state == RunState.SETTLED,
            runs.c.kind != RunKind.REPLAY,
        )
        .order_by(runs.c.ended_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    last = sa.select(newest.label("id")).select_from(pipelines.join(lanes, sa.true())).where(_IS_DECLARED).cte("last")
    counts = sa.or_(runs.c.lane == Lane.LIVE, runs.c.ended_at > sa.func.now() - EVENTS_SEEN_FOR)
    settled = _of_runs(allowed.label("allowed")).join(last, last.c.id == runs.c.id).where(counts)
    still_open = _of_runs(allowed.label("allowed")).where(
        runs.c.state.in_(OPEN), runs.c.kind != RunKind.REPLAY, _IS_DECLARED, runs.c.extracted >= FEWEST_JUDGED
    )
    is_too_much = runs.c.rejected > allowed * runs.c.extracted
    found: dict[str, Condition] = {}
    for query in (settled, still_open):
        for row in connection.execute(query.where(is_too_much)):
            were = "was" if row.rejected == 1 else "were"
            sentence = (
                f"{row.rejected:,} of {_counted(row.extracted, 'row')} {were} rejected, "
                f"more than {row.allowed:g} of them; each is kept with its reason"
            )
            subject = f"{row.pipeline_id} {row.lane}"
            found[subject] = _of_run(AlertName.ROWS_REJECTED, row, sentence, subject=subject)
    return list(found.values())


def _resyncs(connection: sa.Connection) -> list[Condition]:
    """Give the pipelines whose newest generation is not the first and began within a day, unless that was told."""
    subject = pipelines.c.id + " generation " + sa.cast(pipelines.c.generation, sa.Text)
    recent = sa.func.now() - EVENTS_SEEN_FOR
    reset = (
        sa.select(notices.c.noticed_at, notices.c.message)
        .where(
            notices.c.pipeline_id == pipelines.c.id,
            notices.c.name == NoticeName.WATERMARK_RESET,
            notices.c.noticed_at > recent,
        )
        .order_by(notices.c.noticed_at.desc())
        .limit(1)
        .lateral("reset")
    )
    begun = (
        sa.select(backfills.c.created_at)
        .where(
            backfills.c.pipeline_id == pipelines.c.id,
            backfills.c.generation == pipelines.c.generation,
            backfills.c.kind == RunKind.INITIAL,
            backfills.c.created_at > recent,
        )
        .order_by(backfills.c.created_at.desc())
        .limit(1)
        .lateral("begun")
    )
    query = (
        sa.select(
            pipelines.c.id,
            _NAME.label("name"),
            _MUTED.label("muted"),
            pipelines.c.generation,
            subject.label("subject"),
            reset.c.message,
            sa.func.coalesce(reset.c.noticed_at, begun.c.created_at).label("since"),
        )
        .select_from(pipelines.outerjoin(reset, sa.true()).outerjoin(begun, sa.true()))
        .where(
            pipelines.c.generation > 1,
            _IS_DECLARED,
            sa.or_(reset.c.noticed_at.is_not(None), begun.c.created_at.is_not(None)),
            ~_is_told(AlertName.FULL_RESYNC, subject),
        )
    )
    return [
        Condition(
            name=AlertName.FULL_RESYNC,
            subject=row.subject,
            pipeline_id=row.id,
            pipeline_name=row.name,
            sentence=row.message or f"an initial sync began anew, in generation {row.generation}",
            since=row.since,
            is_muted=AlertName.FULL_RESYNC in row.muted,
        )
        for row in connection.execute(query)
    ]


def _finished(connection: sa.Connection) -> list[Condition]:
    """Give the backfills, initial syncs included, whose last part settled within a day, unless that was told."""
    recent = sa.func.now() - EVENTS_SEEN_FOR
    ended = (
        sa.select(runs.c.backfill_id)
        .distinct()
        .where(
            runs.c.pipeline_id == pipelines.c.id,
            runs.c.lane == Lane.BACKFILL,
            runs.c.state == RunState.SETTLED,
            runs.c.ended_at > recent,
            runs.c.backfill_id.is_not(None),
        )
        .lateral("ended")
    )
    subject = sa.cast(ended.c.backfill_id, sa.Text)
    candidates = (
        sa.select(ended.c.backfill_id)
        .select_from(pipelines.join(ended, sa.true()))
        .where(_IS_DECLARED, ~_is_told(AlertName.BACKFILL_FINISHED, subject))
        .cte("candidates")
    )
    is_settled = runs.c.state == RunState.SETTLED
    parts = sa.func.count(runs.c.part.distinct())
    query = (
        sa.select(
            backfills.c.id,
            backfills.c.kind,
            backfills.c.pipeline_id,
            _NAME.label("name"),
            _MUTED.label("muted"),
            parts.label("parts"),
            sa.func.max(runs.c.ended_at).filter(is_settled).label("since"),
            *(sa.func.sum(runs.c[name]).filter(is_settled).label(name) for name in _COUNTS),
        )
        .join(candidates, candidates.c.backfill_id == backfills.c.id)
        .join(runs, runs.c.backfill_id == backfills.c.id)
        .join(pipelines, pipelines.c.id == backfills.c.pipeline_id)
        .group_by(backfills.c.id, pipelines.c.id)
        .having(parts == sa.func.count(runs.c.part.distinct()).filter(is_settled))
    )
    return [
        Condition(
            name=AlertName.BACKFILL_FINISHED,
            subject=str(row.id),
            pipeline_id=row.pipeline_id,
            pipeline_name=row.name,
            sentence=(
                f"{'the initial sync' if row.kind == RunKind.INITIAL else 'a backfill'} is complete: "
                f"{_counted(row.extracted, 'row')} in {_counted(row.parts, 'part')}, "
                f"{int(row.accepted):,} accepted, {int(row.rejected):,} rejected"
            ),
            since=row.since,
            kind=row.kind,
            counts=counts_of(row),
            is_muted=AlertName.BACKFILL_FINISHED in row.muted,
        )
        for row in connection.execute(query)
    ]


def _is_told(name: AlertName, subject: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.exists().where(alerts.c.name == sa.literal(name.value, literal_execute=True), alerts.c.subject == subject)
