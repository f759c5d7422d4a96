"""What attempts tell later replays: whose rows they reject, and what newer rows of these users they send.

A replay must not send a row after a newer one of its user. What the live lane sends while it is open, marks tell
(``turns``); what was sent between the rejection and its beginning, and by history, nobody knew without this.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shared.ledger import Reject
from shared.mapping.plan import MappingPlan
from shared.run import Lane
from shared.snapshot import Snapshot
from shared.store import newer, rejected_users
from shared.store.chunks import ClaimedChunk
from worker.mparticle.keys import UserKey, user_keys
from worker.process import Process
from worker.rejects import reject_table
from worker.stale import Sendable


def whose(rejects: Sequence[Reject], table: Any, *, plan: MappingPlan, snapshot: Snapshot) -> list[UserKey]:
    """Give the users of a chunk's rejected rows, each once; who cannot be told is nobody, and events have none."""
    if not rejects or plan.has_events:
        return []
    users = user_keys(plan, reject_table(table, rejects), one_row_per=snapshot.one_row_per)
    return list({user: None for user in users if user is not None})


def note_rejected(
    connection: sa.Connection, claimed: ClaimedChunk, users: Sequence[UserKey], here: Mapping[UserKey, datetime]
) -> None:
    """Note the users of rejected rows in the transaction that records these.

    Newer rows of theirs may be ``here``, the newest of each user among the chunk's good rows; and while history is
    loaded its rows may be older than what the live lane has sent already.
    """
    if not users:
        return
    sent = newer.newer(connection, claimed.pipeline_id, users) if claimed.lane is Lane.BACKFILL else {}
    known = {user: [at for at in (here.get(user), sent.get(user)) if at is not None] for user in users}
    rejected_users.note(connection, claimed.pipeline_id, {user: max(at, default=None) for user, at in known.items()})


def tell_replays(process: Process, pipeline_id: str, sendable: Callable[[], Sendable]) -> bool:
    """Note what is about to be sent of users who have rejected rows, and say whether history is loaded.

    Noted first, and asked then: a replay that is not seen yet begins later and reads the notes, and one that is seen
    waits its turn. Where nobody has rejected rows, both are one question.
    """
    with process.database.transaction() as connection:
        are_any = rejected_users.are_any(connection, pipeline_id)
        is_loading = newer.is_loading(connection, pipeline_id)
    if not are_any:
        return is_loading
    newest = sendable().newest()
    with process.database.transaction() as connection:
        rejected_users.saw(connection, pipeline_id, newest)
    with process.database.transaction() as connection:
        return newer.is_loading(connection, pipeline_id)


def tell_sent(process: Process, pipeline_id: str, sendable: Sendable) -> None:
    """Note what history is about to send, or leaves out for something newer, of users who have rejected rows."""
    with process.database.transaction() as connection:
        if rejected_users.are_any(connection, pipeline_id):
            rejected_users.saw(connection, pipeline_id, sendable.newest())


def sent_since(
    connection: sa.Connection, pipeline_id: str, users: Sequence[UserKey], *, snapshot: Snapshot
) -> Mapping[UserKey, datetime]:
    """Give what newer rows of some users were sent, as far as the run has to mind them."""
    marks = newer.newer(connection, pipeline_id, users)
    if not snapshot.is_replay:
        return marks
    earlier = rejected_users.newest(connection, pipeline_id, users)
    return earlier | {user: max(at, earlier.get(user, at)) for user, at in marks.items()}
