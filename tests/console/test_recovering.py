"""What `recover` refuses, shows and holds, on a store as a backup would have left it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from console.recovering import Recovering
from console.recovery import Restored, Since, Ways, question
from shared.errors import BrokerUnavailable, FeedRefused, HistoryOvertaken, MoveNotAllowed, StillAtWork
from shared.run import HeldFor, Run, RunId, RunState, Window
from shared.settings import Settings
from shared.spool import Spool
from shared.store import beats, holds, markers, moves, recovering, run_events
from tests.shared.store.promises import Promises
from tests.shared.store.stage import INCREMENTAL, T0, T1, WINDOW_CHUNKS, Stage

NOW = datetime(2026, 5, 1, tzinfo=UTC)
A_MONTH = timedelta(days=25)


@pytest.fixture
def spool(tmp_path: Path, stage: Stage) -> Spool:
    """A spool that the store knows as the workers'."""
    opened = Spool.open(str(tmp_path / "spool"))
    with stage.database.transaction() as connection:
        markers.replace(connection, "spool", opened.marker())
    return opened


def verb(stage: Stage, tmp_path: Path, workers: Mapping[str, frozenset[str]] | None = None) -> Recovering:
    own = Settings.model_validate({"home": tmp_path, "spool_url": (tmp_path / "spool").as_uri()})
    return Recovering(stage.database, own, lambda: workers or {})


def uploading(stage: Stage) -> RunId:
    """Give a live run with two chunks, of which one is claimed."""
    stage.past_history()
    run_id, chunk_ids = stage.uploading([3, 2], Window(T0, T1))
    stage.record(stage.held(chunk_ids[0]), 1)
    return run_id


@pytest.mark.usefixtures("spool")
def test_nothing_is_held_while_a_beat_ticks_or_a_worker_answers(stage: Stage, tmp_path: Path) -> None:
    run_id = uploading(stage)
    with stage.database.transaction() as connection:
        beats.tick(connection, "host:17", is_first=True)
    with pytest.raises(StillAtWork, match="beats tick: host:17"):
        verb(stage, tmp_path).recover()
    stage.write("UPDATE beats SET ticked_at = now() - interval '61 s'")
    with pytest.raises(StillAtWork, match="workers answer: upload@host"):
        verb(stage, tmp_path, {"upload@host": frozenset()}).recover()
    assert not stage.run(run_id).is_held
    verb(stage, tmp_path, {"upload@host": frozenset()}).recover(force=True)
    assert stage.run(run_id).is_held


@pytest.mark.usefixtures("spool")
def test_nothing_is_held_where_nobody_can_tell_whether_workers_run(stage: Stage, tmp_path: Path) -> None:
    def broken() -> Mapping[str, frozenset[str]]:
        raise BrokerUnavailable("the broker does not answer")

    with pytest.raises(StillAtWork, match="cannot be told"):
        Recovering(stage.database, Settings.model_validate({"home": tmp_path}), broken).recover()


@pytest.mark.usefixtures("spool")
def test_a_dry_run_tells_the_same_and_changes_nothing(stage: Stage, tmp_path: Path) -> None:
    run_id = uploading(stage)
    before = stage.run(run_id)
    ((found, why),) = verb(stage, tmp_path, {"upload@host": frozenset()}).recover(dry_run=True).runs
    assert stage.run(run_id) == before
    assert found.run == before
    ((_, told),) = verb(stage, tmp_path).recover().runs
    assert told == why == stage.run(run_id).held_reason


@pytest.mark.usefixtures("spool")
def test_a_dry_run_of_what_is_at_work_warns_that_it_is_no_restored_store(stage: Stage, tmp_path: Path) -> None:
    uploading(stage)
    assert verb(stage, tmp_path).recover(dry_run=True).at_work is None
    working = verb(stage, tmp_path, {"upload@host": frozenset()}).recover(dry_run=True)
    assert working.at_work == "workers answer: upload@host; this is not a restored store at rest"
    with stage.database.transaction() as connection:
        beats.tick(connection, "host:17", is_first=True)
    ticking = verb(stage, tmp_path).recover(dry_run=True)
    assert ticking.at_work == "beats tick: host:17; this is not a restored store at rest"


@pytest.mark.usefixtures("spool")
def test_repeating_tells_the_first_instant_and_what_was_decided_since(stage: Stage, tmp_path: Path) -> None:
    decided = uploading(stage)
    first = verb(stage, tmp_path).recover()
    assert verb(stage, tmp_path).recover(dry_run=True).backup_at == first.backup_at
    with stage.database.transaction() as connection:
        moves.approve(connection, decided, window_chunks=WINDOW_CHUNKS)
    ((_, why),) = verb(stage, tmp_path).recover().runs
    assert "the run was held for that before, approved since, and uploading when it was held again" in why
    stage.write("UPDATE markers SET value = '2026-04-01T00:00:00+00:00' WHERE name = 'restored_as_of'")
    repeated = verb(stage, tmp_path).recover()
    assert repeated.backup_at == datetime(2026, 4, 1, tzinfo=UTC)
    assert [told for _, told in repeated.runs] == [why], "a question stays as it was asked"
    stage.write("UPDATE runs SET held_for = NULL, held_at = NULL, held_reason = NULL")
    assert verb(stage, tmp_path).recover(dry_run=True).backup_at != repeated.backup_at, "that recovery has ended"


@pytest.mark.usefixtures("spool")
def test_whoever_had_claimed_something_has_lost_it_and_every_promise_holds(stage: Stage, tmp_path: Path) -> None:
    run_id = uploading(stage)
    promises = Promises(stage)
    promises.check()
    verb(stage, tmp_path).recover()
    promises.check()
    assert stage.rows("SELECT id FROM chunks WHERE token IS NOT NULL OR lease_until IS NOT NULL") == []
    run = stage.run(run_id)
    assert (run.state, run.held_for, run.ledger.accepted, run.ledger.unsent) == (
        RunState.CANCELLED,
        HeldFor.RESTORED,
        1,
        4,
    )
    with stage.database.transaction() as connection:
        moves.approve(connection, run_id, window_chunks=WINDOW_CHUNKS)
    promises.decided.add(run_id)
    promises.check()


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize("how", ["created", "extracting", "failed", "cancelled", "held"])
def test_every_run_that_was_open_is_held_whatever_it_did(stage: Stage, tmp_path: Path, how: str) -> None:
    stage.declare(mode=INCREMENTAL)
    run_id = stage.started()
    if how == "created":
        stage.claim_plan(run_id)
    else:
        stage.claim_slice(stage.plan(run_id, Window(None, T0, includes_null=True))[0])
    with stage.database.transaction() as connection:
        match how:
            case "failed":
                moves.fail(connection, run_id, FeedRefused("no"))
            case "cancelled":
                moves.cancel(connection, run_id)
            case "held":
                holds.hold(connection, run_id, HeldFor.VOLUME_UNUSUAL, "so many rows")
    ((_, why),) = verb(stage, tmp_path).recover().runs
    run = stage.run(run_id)
    assert (run.state, run.held_for, run.held_reason) == (RunState.CANCELLED, HeldFor.RESTORED, why)
    assert ("so many rows" in why) is (how == "held")
    with stage.database.transaction() as connection:
        event = run_events.of_run(connection, run_id)[-1]
        assert (event.name, event.error_kind, event.error) == ("held", "restored", why)
        corrected = moves.reopen_corrected(connection, ["people"], ["FeedRefused"], window_chunks=WINDOW_CHUNKS)
    assert corrected.runs == ()
    if how == "created":  # Nobody knows yet where the live lane begins.
        with pytest.raises(MoveNotAllowed, match="waits for a decision"):
            stage.trigger()
    else:  # As ever, the present does not wait for history.
        assert stage.trigger().runs != (run_id,)
    assert stage.run(run_id).is_held
    for table in ("runs", "slices"):
        assert stage.rows(f"SELECT id FROM {table} WHERE token IS NOT NULL") == []


@pytest.mark.usefixtures("spool")
def test_pausing_all_keeps_what_has_no_open_run_from_starting(stage: Stage, tmp_path: Path) -> None:
    stage.past_history()
    found = verb(stage, tmp_path).recover(pause_all=True)
    assert (found.runs, found.paused) == ([], ["people"])
    assert stage.rows("SELECT state FROM pipelines")[0].state == "paused"
    assert verb(stage, tmp_path).recover(pause_all=True).paused == []


def test_numbers_go_on_beyond_any_that_may_have_been_given(stage: Stage) -> None:
    stage.declare()
    stage.write("UPDATE runs SET number = 17")
    run_id = stage.started()
    number = stage.run(run_id).number
    with stage.database.transaction() as connection:
        since = datetime.now(UTC) - timedelta(days=3)
        last = recovering.skip_numbers(connection, since=since)
        assert recovering.skip_numbers(connection, since=since) == last
    assert last >= number + 1000
    assert last % 1000 == 0
    stage.complete(run_id)
    assert stage.run(stage.started()).number == last + 1


def test_a_spool_that_is_not_seen_is_said_and_one_of_unknown_runs_too(
    stage: Stage, spool: Spool, tmp_path: Path
) -> None:
    uploading(stage)
    table = pa.table({"a": [1]})
    unknown = RunId(uuid4())
    token = stage.rows("SELECT token FROM chunks WHERE token IS NOT NULL")[0].token
    chunk_id = stage.rows("SELECT id FROM chunks")[0].id
    spool.write_chunk(table, run_id=unknown, slice_no=0, token=token, chunk_id=chunk_id)
    found = verb(stage, tmp_path).recover(dry_run=True)
    assert found.unknown_runs == [unknown]
    assert [(one.missing, one.ways) for one, _ in found.runs] == [(2, Ways.ABANDON)], "the stage writes no files"
    with stage.database.transaction() as connection:
        markers.replace(connection, "spool", "another")
    found = verb(stage, tmp_path).recover(dry_run=True)
    assert "another one than that of the backup" in found.spool
    assert [(one.missing, one.ways) for one, _ in found.runs] == [(None, Ways.UNKNOWN)]
    assert found.unknown_runs is None


def test_when_the_backup_was_made_is_when_the_store_last_heard_of_anything(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        assert recovering.known_until(connection) is None
    uploading(stage)
    stage.write("UPDATE run_events SET happened_at = '2026-04-01'")
    stage.write("UPDATE chunks SET done_at = '2026-04-02' WHERE state = 'done'")
    stage.write("INSERT INTO beats (name, ticked_at) VALUES ('host:1', '2026-04-03')")
    with stage.database.transaction() as connection:
        assert recovering.known_until(connection) == datetime(2026, 4, 3, tzinfo=UTC)
        recovering.hold_open(connection, lambda _: "why")
        assert recovering.known_until(connection) == datetime(2026, 4, 3, tzinfo=UTC), "holding is not heard of"


def asked(run: Run, *, unfinished: int, missing: int | None, backup_at: datetime | None = NOW) -> tuple[str, Ways]:
    found = Restored(run, unfinished, missing)
    return question(found, backup_at=backup_at, now=NOW + timedelta(hours=1), remembered=A_MONTH), found.ways


def test_a_question_says_what_each_way_on_sends_again(stage: Stage) -> None:
    run_id = uploading(stage)
    run = stage.run(run_id)
    why, ways = asked(run, unfinished=2, missing=0)
    assert ways is Ways.ANY
    assert "restored as of 2026-05-01 00:00:00 UTC" in why
    assert "1 of 5 rows accepted" in why
    assert "its 2 unfinished chunks are in the spool: approve sends them under their own ids" in why
    assert "all rows of it are sent under new ids, those that were accepted, too" in why
    assert "had not been read to its end" not in why
    why, ways = asked(run, unfinished=2, missing=1)
    assert ways is Ways.ABANDON
    assert "1 of its 2 unfinished chunks are not in the spool any more" in why
    assert "cannot be seen from here" in asked(run, unfinished=2, missing=None)[0]
    assert "an instant that is not known" in asked(run, unfinished=2, missing=0, backup_at=None)[0]
    old = NOW - timedelta(days=40)
    assert "may have forgotten its ids" in asked(run, unfinished=2, missing=0, backup_at=old)[0]


def test_a_question_about_a_run_that_was_not_read_whole_says_that_the_rest_is_read_anew(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    assert "was not planned yet, and approve plans it anew" in asked(stage.run(run_id), unfinished=0, missing=0)[0]
    stage.plan(run_id)
    assert "had not been read to its end" in asked(stage.run(run_id), unfinished=0, missing=0)[0]


def test_a_question_about_a_run_that_was_begun_after_the_restore_says_so(stage: Stage) -> None:
    found = Restored(stage.run(uploading(stage)), 2, 0, Since.BEGUN)
    why = question(found, backup_at=NOW, now=NOW, remembered=A_MONTH)
    assert "the run was begun after that, and uploading when it was held" in why


def test_history_that_was_overtaken_can_only_be_abandoned(stage: Stage) -> None:
    run_id = uploading(stage)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, HistoryOvertaken("too many newer rows"))
    why, ways = asked(stage.run(run_id), unfinished=1, missing=0)
    assert ways is Ways.ABANDON
    assert "had failed with HistoryOvertaken: too many newer rows" in why
