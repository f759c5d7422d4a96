"""What operators look at: the audit log, what happened to a run, its chunks, and a run by what they call it."""

from itertools import pairwise
from uuid import UUID

import pytest

from shared.access import Role
from shared.errors import NotFound
from shared.run import ChunkState, RunId
from shared.store import access, auditing, chunk_list, lives, run_events, runs
from shared.store.auditing import AuditEntry
from shared.store.chunk_list import ChunkPlace, ListedChunk
from tests.shared.store.stage import Stage


def audited(
    stage: Stage, *, kind: str | None = None, actor: str | None = None, before_id: int | None = None, limit: int = 50
) -> list[AuditEntry]:
    with stage.database.transaction() as connection:
        return auditing.newest(connection, kind=kind, actor=actor, before_id=before_id, limit=limit)


def found(stage: Stage, named: str) -> RunId:
    with stage.database.transaction() as connection:
        return runs.find(connection, named)


def listed(stage: Stage, run_id: RunId, *, after: ChunkPlace | None = None, limit: int = 200) -> list[ListedChunk]:
    with stage.database.transaction() as connection:
        return chunk_list.of_run(connection, run_id, after=after, limit=limit)


def test_the_audit_log_is_read_by_what_and_who_newest_first(stage: Stage) -> None:
    stage.declare("people")
    with stage.database.acting_as("anna").transaction() as connection:
        lives.pause(connection, "people")
        access.create_token(connection, "bert", Role.VIEWER)
    assert [(entry.action, entry.kind, entry.subject) for entry in audited(stage, actor="anna")] == [
        ("created", "token", "bert"),
        ("paused", "pipeline", "people"),
    ]
    assert [entry.action for entry in audited(stage, kind="pipeline")] == ["paused", "activated", "created"]
    with stage.database.transaction() as connection:
        (entry,) = auditing.newest(connection, kind="connection", subject="lake")
        assert auditing.newest(connection, subject="nothing") == auditing.newest(connection, actor="\0\ud800") == []
    assert (entry.actor, entry.action, entry.fields) == (None, "created", ())


def test_the_audit_log_is_read_on_without_gap_or_repeat(stage: Stage) -> None:
    stage.declare("people")
    whole = audited(stage)
    pages: list[AuditEntry] = []
    while page := audited(stage, limit=2, before_id=pages[-1].id if pages else None):
        pages += page
    assert pages == whole
    assert all(newer.id > older.id for newer, older in pairwise(whole))


def test_what_happened_to_a_run_is_told_in_order_with_who_did_it(stage: Stage) -> None:
    stage.declare("people")
    run_id = stage.started()
    with stage.database.acting_as("anna").transaction() as connection:
        lives.pause(connection, "people")
    with stage.database.transaction() as connection:
        events = run_events.of_run(connection, run_id)
        later = run_events.of_run(connection, run_id, after_id=events[0].id)
        assert run_events.of_run(connection, run_id, limit=1) == events[:1]
    assert [(event.name, event.actor) for event in events] == [("created", None), ("paused", "anna")]
    assert later == events[1:]


def test_a_run_is_found_by_its_number_or_the_beginning_of_its_id(stage: Stage) -> None:
    stage.declare("people")
    run = stage.run(stage.started())
    for named in (str(run.number), str(run.id), str(run.id).upper(), str(run.id).split("-", maxsplit=1)[0]):
        assert found(stage, named) == run.id
    for named in (f"{run.number + 1}", f"0{run.number}", "", "9" * 30, "%", "\0", "\ud800", "٣"):
        with pytest.raises(NotFound):
            found(stage, named)


def rename(stage: Stage, run_id: RunId, other: UUID) -> None:
    stage.write("DELETE FROM run_events WHERE run_id = :id", id=run_id)
    stage.write("UPDATE runs SET id = :other WHERE id = :id", other=other, id=run_id)


def test_a_few_digits_are_a_number_whatever_ids_begin_with(stage: Stage) -> None:
    stage.declare("people")
    run_id = UUID("12345678-0000-4000-8000-000000000000")
    rename(stage, stage.started(), run_id)
    stage.write("UPDATE runs SET number = 7")
    with pytest.raises(NotFound, match=r"there is no run number 1234567; .* at least eight characters"):
        found(stage, "1234567")
    assert found(stage, "12345678") == run_id
    assert found(stage, "12345678-") == run_id
    assert found(stage, "7") == run_id


def test_many_digits_are_what_there_is_and_neither_where_both_are_there(stage: Stage) -> None:
    for pipeline_id in ("people", "others"):
        stage.declare(pipeline_id)
    first, second = (stage.started(pipeline_id) for pipeline_id in ("people", "others"))
    stage.write("UPDATE runs SET number = 12345678 WHERE id = :id", id=first)
    assert found(stage, "12345678") == first
    clashing = UUID("12345678-0000-4000-8000-000000000000")
    rename(stage, second, clashing)
    with pytest.raises(NotFound, match="several runs"):
        found(stage, "12345678")
    assert found(stage, "12345678-0") == clashing


def test_a_runs_chunks_are_listed_over_all_slices_without_gap_or_repeat(stage: Stage) -> None:
    stage.declare("people")
    run_id = stage.started()
    for slice_id in stage.plan(run_id, slice_count=3):
        stage.extract(slice_id, (1, 2, 3))
    whole = listed(stage, run_id)
    places = [ChunkPlace(slice_no, no) for slice_no in range(3) for no in range(3)]
    assert [chunk.place for chunk in whole] == places
    for limit in (1, 2, 4):
        pages: list[ListedChunk] = []
        while page := listed(stage, run_id, after=pages[-1].place if pages else None, limit=limit):
            assert len(page) <= limit
            pages += page
        assert pages == whole


def test_a_chunk_is_listed_with_where_it_stands_and_why(stage: Stage) -> None:
    stage.declare("people")
    run_id, (first, second) = stage.uploading((3, 2))
    held = stage.held(first)
    stage.record(held, 2, rejected=1)
    stage.upload(second)
    stage.write("UPDATE chunks SET error = 'the feed is down', deaths = 1 WHERE id = :id", id=first)
    one, other = listed(stage, run_id)
    assert (one.id, one.state, one.rows, one.position, one.accepted, one.rejected) == (
        first,
        ChunkState.UPLOADING,
        3,
        2,
        1,
        1,
    )
    assert (one.error, one.deaths, one.attempts, one.done_at) == ("the feed is down", 1, 1, None)
    assert one.claimant is not None
    assert one.in_doubt_since is not None
    assert (other.id, other.state, other.accepted) == (second, ChunkState.DONE, 2)
    assert other.done_at is not None
    assert not {"path", "checksum", "token"} & set(ListedChunk.__slots__)
