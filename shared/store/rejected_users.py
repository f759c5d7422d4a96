"""Whose rows were rejected and may be replayed, and the newest row that was sent of each since.

A replay sends values as they were when they were rejected, which may be weeks later. So whoever rejects a row notes its
user, the live lane notes here what it is about to send of such users, and a replay leaves out what is older. Users
nobody has rejected a row of cost one question. They are forgotten with the last file that may hold a row of theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from shared.run import OPEN, RunId, RunKind
from shared.store import keyed
from shared.store.keyed import Key
from shared.store.reject_tables import reject_files, rejected_users
from shared.store.tables import runs


def note(connection: sa.Connection, pipeline_id: str, newest: Mapping[Key, datetime | None]) -> None:
    """Note users of rejected rows, each with the newest row that is known to have been sent, if there is one.

    The caller records the rejected rows in the same transaction.
    """
    _put(connection, pipeline_id, newest, rejected_at=sa.func.now())


def are_any(connection: sa.Connection, pipeline_id: str) -> bool:
    """Say whether a pipeline has rejected anybody's row that is still kept."""
    return bool(connection.scalar(sa.select(sa.exists().where(rejected_users.c.pipeline_id == pipeline_id))))


def saw(connection: sa.Connection, pipeline_id: str, newest: Mapping[Key, datetime]) -> None:
    """Note what is about to be sent of users, for those of whom rows were rejected; an instant never goes back."""
    known = _known(connection, pipeline_id, newest)
    fresh = {key: at for key, at in newest.items() if key in known and not _is_after(known[key], at)}
    _put(connection, pipeline_id, fresh)


def newest(connection: sa.Connection, pipeline_id: str, keys: Iterable[Key]) -> dict[Key, datetime]:
    """Give the newest rows that were sent since, of those users of whom any was."""
    known = _known(connection, pipeline_id, keys)
    return {key: at for key, at in known.items() if at is not None}


def forget(connection: sa.Connection, run_ids: Sequence[RunId]) -> None:
    """Forget the users of some runs' pipelines of whom no file may hold a row any more.

    A replay may have read its files, and has yet to send: until it is closed, and its own files are given here, its
    pipeline forgets nobody.
    """
    replays = runs.alias()
    is_replaying = sa.exists().where(
        replays.c.pipeline_id == runs.c.pipeline_id, replays.c.kind == RunKind.REPLAY, replays.c.state.in_(OPEN)
    )
    pipeline_ids = connection.scalars(
        sa.select(runs.c.pipeline_id).distinct().where(runs.c.id.in_(run_ids), ~is_replaying)
    ).all()
    for pipeline_id in sorted(pipeline_ids):
        oldest = (
            sa.select(sa.func.coalesce(sa.func.min(reject_files.c.created_at), sa.func.now()))
            .join(runs, runs.c.id == reject_files.c.run_id)
            .where(runs.c.pipeline_id == pipeline_id)
            .scalar_subquery()
        )
        connection.execute(
            sa.delete(rejected_users).where(
                rejected_users.c.pipeline_id == pipeline_id, rejected_users.c.rejected_at < oldest
            )
        )


def _known(connection: sa.Connection, pipeline_id: str, keys: Iterable[Key]) -> Mapping[Key, datetime | None]:
    return keyed.look_up(connection, rejected_users.c.user_key, pipeline_id, keys)


def _is_after(known: datetime | None, at: datetime) -> bool:
    return known is not None and known >= at


def _put(
    connection: sa.Connection, pipeline_id: str, instants: Mapping[Key, datetime | None], **values: object
) -> None:
    if not instants:
        return
    ordered = dict(sorted(instants.items()))  # Two who put the same users do so in one order.
    put = keyed.insert_all(rejected_users.c.user_key, pipeline_id, ordered)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["pipeline_id", "user_key"],
            set_={"iterator_at": sa.func.greatest(rejected_users.c.iterator_at, put.excluded.iterator_at), **values},
        )
    )
