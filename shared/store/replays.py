"""Replays: a run's rejected rows are sent anew, as a run of its own on the backfill lane, under new ids.

A replay takes its rows when it is recorded: every file and code that no other replay has taken. So a second one takes
what is left. The rows of a replay that was abandoned are free again, because nobody will send them. A replay has no
window, reads no warehouse and moves no watermark; what it rejects again are its own rejects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.errors import MoveNotAllowed
from shared.ledger import RejectCode
from shared.messages import Message, TaskName
from shared.run import WORKING, Lane, Run, RunId, RunKind, RunState
from shared.store import declared, rejects, settling
from shared.store import runs as run_rows
from shared.store.asked import Asked
from shared.store.declared import get_pipeline
from shared.store.reject_tables import replayed_rejects
from shared.store.rejects import RejectFile
from shared.store.tables import runs


@dataclass(frozen=True, slots=True)
class Taken:
    """What a replay reads of one file: its rows of some codes."""

    file: RejectFile
    codes: frozenset[str]

    @property
    def rows(self) -> int:
        """How many rows those are."""
        return sum(self.file.counts.get(code, 0) for code in self.codes)


def begin(connection: sa.Connection, run_id: RunId, *, code: RejectCode | None = None) -> Asked:
    """Record a replay of what is left of a run's rejected rows, of one code or of all.

    It works on active and paused pipelines, whatever holds their window: a replay has none.

    Raises:
        NotFound: there is no such run, or its pipeline was deleted.
        MoveNotAllowed: the run is still at work, is a replay that was abandoned, or has no such rows left.
        DeclarationInvalid: the pipeline has no environment.
    """
    run = settling.lock(connection, run_id).run
    row = get_pipeline(connection, run.pipeline_id)
    row.require_begun()
    declared.require_environment(connection, row)
    _require_over(connection, run)
    taken = left(connection, run_id, code=code)
    if not taken:
        raise MoveNotAllowed(_why_nothing_is_left(connection, run, code))
    replay = run_rows.create(connection, row, RunKind.REPLAY, Lane.BACKFILL, replays=run_id)
    put = insert(replayed_rejects)
    connection.execute(
        put.on_conflict_do_update(index_elements=["reject_file_id", "code"], set_={"run_id": put.excluded.run_id}),
        [{"reject_file_id": one.file.id, "code": each, "run_id": replay.id} for one in taken for each in one.codes],
    )
    return Asked((replay.id,), (Message(TaskName.PLAN_RUN, replay.id, replay.lane),))


def left(connection: sa.Connection, run_id: RunId, *, code: RejectCode | None = None) -> list[Taken]:
    """Give what of a run's rejected rows no replay has taken, of one code or of all."""
    others = sa.select(replayed_rejects.c.reject_file_id, replayed_rejects.c.code).join(
        runs, runs.c.id == replayed_rejects.c.run_id
    )
    gone = {
        (file_id, taken)
        for file_id, taken in connection.execute(
            others.where(runs.c.replays == run_id, runs.c.state != RunState.ABANDONED)
        )
    }
    found = [
        Taken(
            file,
            frozenset(
                each
                for each, rows in file.counts.items()
                if rows and code in {None, each} and (file.id, each) not in gone
            ),
        )
        for file in rejects.files_of(connection, run_id)
    ]
    return [one for one in found if one.codes]


def taken_by(connection: sa.Connection, replay_id: RunId) -> list[Taken]:
    """Give what a replay reads, in the order in which the files were recorded."""
    codes: dict[int, set[str]] = {}
    for file_id, code in connection.execute(
        sa.select(replayed_rejects.c.reject_file_id, replayed_rejects.c.code).where(
            replayed_rejects.c.run_id == replay_id
        )
    ):
        codes.setdefault(file_id, set()).add(code)
    replays = connection.scalar(sa.select(runs.c.replays).where(runs.c.id == replay_id))
    if replays is None:
        return []
    files = rejects.files_of(connection, RunId(replays))
    return [Taken(file, frozenset(codes[file.id])) for file in files if file.id in codes]


def of_run(connection: sa.Connection, run_id: RunId) -> list[Run]:
    """Give the replays of a run's rejected rows, oldest first."""
    query = sa.select(runs).where(runs.c.replays == run_id).order_by(runs.c.created_at)
    return [run_rows.to_run(row) for row in connection.execute(query).mappings()]


def _require_over(connection: sa.Connection, run: Run) -> None:
    if run.state in WORKING | {RunState.WAITING}:
        raise MoveNotAllowed(
            f"run {run.number} is {run.state}: its rejected rows are replayed once it is settled or stopped; wait for "
            f"it, or `warehouse-sync cancel {run.number}`"
        )
    if run.replays is not None and run.state is RunState.ABANDONED:
        raise MoveNotAllowed(
            f"run {run.number} is a replay that was abandoned, so its rows are free again where it took them: "
            f"`warehouse-sync replay {run_rows.get(connection, run.replays).number}`"
        )


def _why_nothing_is_left(connection: sa.Connection, run: Run, code: RejectCode | None) -> str:
    what = "rejected rows" if code is None else f"rejected rows of code {code}"
    files: Sequence[RejectFile] = rejects.files_of(connection, run.id)
    if not run.ledger.rejected:
        return f"run {run.number} has rejected no rows; there is nothing to replay"
    if not files:
        return (
            f"run {run.number} has no {what} left: they were removed when their retention ended; "
            "raise WAREHOUSE_SYNC_REJECT_RETENTION_S to keep later ones longer"
        )
    purged = sum(file.purged for file in files)
    replayed = [
        f"{replay.number} ({replay.state})"
        for replay in of_run(connection, run.id)
        if replay.state is not RunState.ABANDONED
    ]
    told = [f"taken by replay {', '.join(replayed)}"] if replayed else []
    told += [f"{purged} purged"] if purged else []
    again = "; what a replay rejected again is replayed by its own number" if replayed else ""
    return f"run {run.number} has no {what} left to replay: {' and '.join(told) or 'it has none of that code'}{again}"
