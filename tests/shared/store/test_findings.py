"""What is found out about rows counts once, however often their chunk is tried, and is told when the run settles."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.findings import OTHER_RULES, PLAN, RULES_KEPT
from shared.notices import NoticeName
from shared.run import RunId
from shared.store import notices
from shared.store.claims import ClaimLost
from tests.shared.store.stage import LAPSED_S, Stage

LIMIT_S = 60
CUT = "attribute_value_truncated"
MERGED = "rows_merged"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def found(stage: Stage, run_id: RunId) -> dict[str, int]:
    return dict(stage.run(run_id).findings)


def told(stage: Stage) -> list[str]:
    with stage.database.transaction() as connection:
        kept = notices.newest(connection, "people")
    return [notice.message for notice in kept if notice.name is NoticeName.ROWS_FOUND]


def test_a_run_begins_without_findings(stage: Stage) -> None:
    stage.declare()
    assert found(stage, stage.started()) == {}


def test_findings_of_all_chunks_add_up(stage: Stage) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading([4, 4])
    stage.record(stage.held(chunk_ids[0]), 4, findings={CUT: 3, MERGED: 1})
    stage.record(stage.held(chunk_ids[1]), 4, findings={CUT: 2})
    assert found(stage, run_id) == {CUT: 5, MERGED: 1}


def test_an_attempt_that_dies_after_recording_is_followed_by_one_that_counts_the_rest(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([4])
    dead = stage.held(chunk_id, lease_s=LAPSED_S)
    stage.record(dead, 2, findings={CUT: 2})
    stage.write("UPDATE chunks SET state = 'ready', token = NULL, lease_until = NULL")
    continued = stage.held(chunk_id)
    assert continued.chunk.position == 2
    stage.record(continued, 4, findings={CUT: 1})
    with pytest.raises(ClaimLost):
        stage.record(dead, 4, start=2, findings={CUT: 1})
    assert found(stage, run_id) == {CUT: 3}


def test_a_failing_transaction_counts_nothing(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([4])
    held = stage.held(chunk_id)
    with pytest.raises(Exception, match="position_inside"):
        stage.record(held, 5, findings={CUT: 2})
    assert found(stage, run_id) == {}


def test_chunks_that_record_at_the_same_moment_lose_no_finding(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading([8] * 8)
    held = [stage.held(chunk_id) for chunk_id in chunk_ids]

    def record(number: int) -> None:
        for position in range(1, 9):
            stage.record(held[number], position, start=position - 1, findings={CUT: 1, f"{PLAN}{number}": 1})

    for done in [pool.submit(record, number) for number in range(8)]:
        done.result(LIMIT_S)
    assert found(stage, run_id) == {CUT: 64} | {f"{PLAN}{number}": 8 for number in range(8)}


def test_a_plan_of_many_rules_does_not_fill_the_run(stage: Stage) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading([1] * 3)
    for number, chunk_id in enumerate(chunk_ids):
        rules = {f"{PLAN}{rule}": 1 for rule in range(number * 40, number * 40 + 40)}
        stage.record(stage.held(chunk_id), 1, findings=rules)
    kept = found(stage, run_id)
    assert len(kept) == RULES_KEPT + 1
    assert kept[OTHER_RULES] == 70


def test_a_run_that_settles_with_findings_leaves_one_notice(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([4])
    held = stage.held(chunk_id)
    stage.record(held, 4, findings={CUT: 2, MERGED: 3})
    stage.finish(held)
    assert told(stage) == []
    assert stage.settle(run_id)
    assert not stage.settle(run_id)
    (said,) = told(stage)
    assert said == (
        f"run {stage.run(run_id).number} settled; rows by what was found out about them: rows_merged (3), "
        "attribute_value_truncated (2)"
    )


def test_a_run_without_findings_leaves_none(stage: Stage) -> None:
    stage.declare()
    stage.complete(stage.started())
    assert told(stage) == []
