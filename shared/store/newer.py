"""Which users the live lane has sent newer rows of while history is being loaded, so that no old row follows them.

A pipeline is *watched* while a run of its backfill lane is open. The live lane then marks each user it is about to
send a row of, and history leaves out what is older than its user's mark. Nothing is written while none is open, and
upkeep removes the marks afterwards. A pipeline has at most ``max_newer_rows`` of them: where it would have more, its
history is *overtaken*. The runs that are loading it stop, for good: what they have read is too old to be told from
what is newer, so nothing but an operator's ``abandon`` goes on.

Whoever adds or removes marks of a pipeline holds the row that counts them, so that two never wait for each other's.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.errors import HistoryOvertaken
from shared.run import OPEN, WORKING, Lane, RunId
from shared.store import keyed, moves
from shared.store.declared import get_pipeline
from shared.store.history_tables import newer_counts, newer_rows
from shared.store.keyed import Key
from shared.store.tables import runs


def is_loading(connection: sa.Connection, pipeline_id: str) -> bool:
    """Say whether a run of the pipeline's backfill lane is open; a part that waits has read nothing yet.

    Rows that were read before such a run was opened need not ask again: it will read them itself, or newer ones.
    """
    return bool(connection.scalar(sa.select(sa.exists().where(runs.c.pipeline_id == pipeline_id, _is_open()))))


def is_watched(connection: sa.Connection, pipeline_id: str) -> bool:
    """Say whether an open run of the pipeline's backfill lane may yet ask for marks: it was not overtaken."""
    return bool(connection.scalar(sa.select(sa.exists().where(runs.c.pipeline_id == pipeline_id, _is_asking()))))


def mark(connection: sa.Connection, pipeline_id: str, newest: Mapping[Key, datetime], *, most: int) -> bool:
    """Mark users by the newest row of each that is about to be sent; a mark never goes back.

    Says False, and marks nobody, where the pipeline would have more than ``most`` marks.
    """
    if not newest:
        return True
    marked_rows = _lock_count(connection, pipeline_id)
    known = newer(connection, pipeline_id, newest)
    total = marked_rows + len(newest.keys() - known.keys())
    if total > most:
        return False
    fresh = {key: at for key, at in newest.items() if key not in known or known[key] < at}
    if fresh:
        put = keyed.insert_all(newer_rows.c.user_key, pipeline_id, fresh)
        connection.execute(
            put.on_conflict_do_update(
                index_elements=["pipeline_id", "user_key"], set_={"iterator_at": put.excluded.iterator_at}
            )
        )
    if total > marked_rows:
        connection.execute(sa.update(newer_counts).where(newer_counts.c.pipeline_id == pipeline_id).values(rows=total))
    return True


def newer(connection: sa.Connection, pipeline_id: str, keys: Iterable[Key]) -> dict[Key, datetime]:
    """Give the marks of those users that have one."""
    return keyed.look_up(connection, newer_rows.c.user_key, pipeline_id, keys)


def overtake(connection: sa.Connection, pipeline_id: str, *, most: int) -> list[RunId]:
    """Stop the runs that are loading a pipeline's history, because its marks have no room; give them."""
    loading = connection.execute(
        sa.select(runs.c.id, runs.c.number, runs.c.state)
        .where(runs.c.pipeline_id == pipeline_id, _is_asking())
        .order_by(runs.c.id)
        .with_for_update(key_share=True)
    ).all()
    for run_id, number, state in loading:
        error = HistoryOvertaken(
            f"run {number} of pipeline {pipeline_id!r}: while it was open, newer rows of more than {most:,} users were "
            "sent, and so many are remembered at most, so that its old rows cannot be told from newer ones any more. "
            "Abandon it: the window of an initial sync is then read anew, a backfill is begun once more. A higher "
            "WAREHOUSE_SYNC_MAX_NEWER_ROWS has room for more, and of smaller parts less is read anew"
        )
        if state in WORKING:
            moves.fail(connection, run_id, error)
        else:
            told = {"error_kind": type(error).__name__, "error": str(error)}
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(**told))
    return [RunId(run_id) for run_id, _, _ in loading]


def forget(connection: sa.Connection, *, at_most: int, pipeline_id: str | None = None) -> int:
    """Remove marks of pipelines that are not watched, a limited number, and give how many.

    No run begins meanwhile: that needs the pipeline's lock, too.
    """
    watched = sa.exists().where(runs.c.pipeline_id == newer_counts.c.pipeline_id, _is_asking())
    unneeded = sa.select(newer_counts.c.pipeline_id).where(~watched).order_by(newer_counts.c.pipeline_id).limit(1)
    if pipeline_id is not None:
        unneeded = unneeded.where(newer_counts.c.pipeline_id == pipeline_id)
    of = connection.scalar(unneeded)
    if of is None:
        return 0
    get_pipeline(connection, of, lock=True, even_deleted=True)
    if is_watched(connection, of):
        return 0
    marked_rows = _lock_count(connection, of)
    # By address: a join by key would read the index once more for each.
    some = sa.select(sa.literal_column("ctid", sa.Text)).select_from(newer_rows).where(newer_rows.c.pipeline_id == of)
    removed = connection.execute(
        sa.delete(newer_rows).where(
            sa.literal_column("ctid") == sa.func.any(sa.func.array(some.limit(at_most).scalar_subquery()))
        )
    ).rowcount
    if removed < at_most:
        connection.execute(sa.delete(newer_counts).where(newer_counts.c.pipeline_id == of))
    else:
        connection.execute(
            sa.update(newer_counts).where(newer_counts.c.pipeline_id == of).values(rows=marked_rows - removed)
        )
    return removed


def _is_open() -> sa.ColumnElement[bool]:
    return sa.and_(runs.c.lane == Lane.BACKFILL, runs.c.state.in_(OPEN))


def _is_asking() -> sa.ColumnElement[bool]:
    return sa.and_(_is_open(), sa.func.coalesce(runs.c.error_kind, "") != HistoryOvertaken.__name__)


def _lock_count(connection: sa.Connection, pipeline_id: str) -> int:
    connection.execute(insert(newer_counts).values(pipeline_id=pipeline_id, rows=0).on_conflict_do_nothing())
    counted: int = connection.execute(
        sa.select(newer_counts.c.rows).where(newer_counts.c.pipeline_id == pipeline_id).with_for_update()
    ).scalar_one()
    return counted
