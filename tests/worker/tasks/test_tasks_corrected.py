"""A feed that refuses to be used stops the run; once it is corrected the run goes on, with the same chunks and ids."""

import pytest

from shared.errors import CredentialsRefused
from shared.feed import Feed
from shared.messages import TaskName
from shared.run import RunState
from shared.store import declared, moves
from tests.worker.tasks.conftest import SECRET
from tests.worker.tasks.desk import Desk, Strike, When, assert_settled_whole


def set_compression(desk: Desk, *, to: bool) -> None:
    with desk.database.transaction() as store:
        declared.put(store, declared.get(store, Feed, "sandbox").model_copy(update={"gzip": to}))


def test_chunks_go_on_after_a_refused_secret_was_corrected(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline_id = desk.pipeline()
    with monkeypatch.context() as wrong:
        wrong.setenv("WAREHOUSE_SYNC_SECRET_FEED", "not the secret")
        run = desk.finish(desk.trigger(pipeline_id))
    assert run.state is RunState.FAILED
    assert run.error_kind == CredentialsRefused.__name__
    assert desk.taken_ids() == {}
    chunks = [chunk["id"] for chunk in desk.chunks(run.id)]
    # What the console does when a feed is declared anew.
    with desk.database.transaction() as store:
        asked = moves.reopen_corrected(
            store, [pipeline_id], [CredentialsRefused.__name__], window_chunks=desk.window_chunks
        )
    desk.send(*asked.messages)
    desk.finish(run.id)
    assert_settled_whole(desk, run.id)
    assert [chunk["id"] for chunk in desk.chunks(run.id)] == chunks


def test_a_secret_that_was_corrected_meanwhile_stops_no_run_for_the_old_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_CORRECTED", SECRET)
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_FEED", "not the secret")

    def correct() -> None:
        with desk.database.transaction() as store:
            feed = declared.get(store, Feed, "sandbox")
            declared.put(store, feed.model_copy(update={"api_secret": "env:WAREHOUSE_SYNC_SECRET_CORRECTED"}))

    # The chunk is claimed, the run's snapshot is read, and then the feed as it stood.
    strike = Strike(3, When.AFTER, correct)
    with desk.database.struck(strike):
        desk.do(TaskName.UPLOAD_CHUNK, arguments)
    assert strike.fell
    assert desk.run(run_id).state is RunState.UPLOADING
    assert "refused the sign-in" in str([chunk["error"] for chunk in desk.chunks(run_id)])
    assert desk.taken_ids() == {}
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_switching_compression_off_helps_a_run_that_was_planned_with_it(desk: Desk) -> None:
    pipeline_id = desk.pipeline()
    set_compression(desk, to=True)
    run = desk.finish(desk.trigger(pipeline_id))
    assert run.state is RunState.FAILED
    assert "gzip: false" in (run.error or "")
    set_compression(desk, to=False)
    desk.retry(run.id)
    desk.finish(run.id)
    assert_settled_whole(desk, run.id)


def test_switching_compression_on_is_for_later_runs(desk: Desk) -> None:
    pipeline_id = desk.pipeline()
    run_id = desk.trigger(pipeline_id)
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    set_compression(desk, to=True)
    desk.do(TaskName.UPLOAD_CHUNK, arguments)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)
