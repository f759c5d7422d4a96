"""Events that people are told of once: everything is read anew, or history has been read."""

import sqlalchemy as sa

from shared.alerts import AlertName, Condition
from shared.notices import NoticeName
from shared.run import Lane, RunKind, RunState
from shared.store.alert_grounds import COUNTS, EVENTS_SEEN_FOR, IS_DECLARED, MUTED, NAME, counted, counts_of
from shared.store.alert_tables import alerts
from shared.store.declared_tables import pipelines
from shared.store.history_tables import backfills
from shared.store.tables import notices, runs


def events(connection: sa.Connection) -> list[Condition]:
    """Give what happened within a day and was not told."""
    return [*_resyncs(connection), *_finished(connection)]


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
            NAME.label("name"),
            MUTED.label("muted"),
            pipelines.c.generation,
            subject.label("subject"),
            reset.c.message,
            sa.func.coalesce(reset.c.noticed_at, begun.c.created_at).label("since"),
        )
        .select_from(pipelines.outerjoin(reset, sa.true()).outerjoin(begun, sa.true()))
        .where(
            pipelines.c.generation > 1,
            IS_DECLARED,
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
        .where(IS_DECLARED, ~_is_told(AlertName.BACKFILL_FINISHED, subject))
        .cte("candidates")
    )
    is_settled = runs.c.state == RunState.SETTLED
    parts = sa.func.count(runs.c.part.distinct())
    query = (
        sa.select(
            backfills.c.id,
            backfills.c.kind,
            backfills.c.pipeline_id,
            NAME.label("name"),
            MUTED.label("muted"),
            parts.label("parts"),
            sa.func.max(runs.c.ended_at).filter(is_settled).label("since"),
            *(sa.func.sum(runs.c[name]).filter(is_settled).label(name) for name in COUNTS),
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
                f"{counted(row.extracted, 'row')} in {counted(row.parts, 'part')}, "
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
