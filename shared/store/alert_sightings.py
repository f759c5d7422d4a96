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
from shared.store import alert_events
from shared.store.access_tables import audit
from shared.store.alert_grounds import COUNTS, EVENTS_SEEN_FOR, IS_DECLARED, MUTED, NAME, POLICY, counted, counts_of
from shared.store.declared_tables import pipelines
from shared.store.tables import runs

FEWEST_JUDGED: Final = 100
"""Rows that a run at work must have read before the share of its rejects is judged. Ours, and a guess."""
FRESH: Final = timedelta(hours=1)
"""What was read to within this is not stale by any schedule; only a pipeline's own ``stale_after`` may be shorter."""
SIGN_INS: Final = frozenset({CredentialsRefused.__name__, FeedSignInRefused.__name__, SecretUnavailable.__name__})
_HOLDS: Final[Mapping[str, AlertName]] = {"volume_unusual": AlertName.VOLUME_UNUSUAL}


def conditions(connection: sa.Connection, *, rejected_ratio: float) -> list[Condition]:
    """Give all that is the matter, save what is stale: for that, ``marks`` are judged by their schedules."""
    return [
        *_failed(connection),
        *_held(connection),
        *_faulted(connection),
        *_rejections(connection, rejected_ratio),
        *alert_events.events(connection),
    ]


def marks(connection: sa.Connection) -> list[Mark]:
    """Give how far active pipelines have read, of those that may be stale."""
    kind = pipelines.c.document["schedule"]["type"].astext
    is_full = pipelines.c.document["sync_mode"]["type"].astext == "full"
    stale_after = POLICY["stale_after"].astext
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
            NAME.label("name"),
            MUTED.label("muted"),
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
        *(runs.c[name] for name in COUNTS),
        NAME.label("name"),
        MUTED.label("muted"),
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


def _failed(connection: sa.Connection) -> list[Condition]:
    """Give each failed run, and once more those whose sign-in was refused."""
    query = _of_runs().where(runs.c.state == RunState.FAILED, IS_DECLARED)
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
    query = _of_runs(*held).where(runs.c.state == RunState.CANCELLED, runs.c.held_at.is_not(None), IS_DECLARED)
    return [
        _of_run(
            _HOLDS.get(row.held_for, AlertName.RUN_HELD), row, row.held_reason, since=row.held_at, kind=row.held_for
        )
        for row in connection.execute(query)
    ]


def _faulted(connection: sa.Connection) -> list[Condition]:
    query = sa.select(
        pipelines.c.id,
        NAME.label("name"),
        MUTED.label("muted"),
        pipelines.c.faulted_reason,
        sa.func.now().label("now"),
    ).where(pipelines.c.faulted_reason.is_not(None), IS_DECLARED)
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
    allowed = sa.func.coalesce(sa.cast(POLICY["max_rejected_ratio"].astext, sa.Float), ratio)
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
    last = sa.select(newest.label("id")).select_from(pipelines.join(lanes, sa.true())).where(IS_DECLARED).cte("last")
    counts = sa.or_(runs.c.lane == Lane.LIVE, runs.c.ended_at > sa.func.now() - EVENTS_SEEN_FOR)
    settled = _of_runs(allowed.label("allowed")).join(last, last.c.id == runs.c.id).where(counts)
    still_open = _of_runs(allowed.label("allowed")).where(
        runs.c.state.in_(OPEN), runs.c.kind != RunKind.REPLAY, IS_DECLARED, runs.c.extracted >= FEWEST_JUDGED
    )
    is_too_much = runs.c.rejected > allowed * runs.c.extracted
    found: dict[str, Condition] = {}
    for query in (settled, still_open):
        for row in connection.execute(query.where(is_too_much)):
            were = "was" if row.rejected == 1 else "were"
            sentence = (
                f"{row.rejected:,} of {counted(row.extracted, 'row')} {were} rejected, "
                f"more than {row.allowed:g} of them; each is kept with its reason"
            )
            subject = f"{row.pipeline_id} {row.lane}"
            found[subject] = _of_run(AlertName.ROWS_REJECTED, row, sentence, subject=subject)
    return list(found.values())
