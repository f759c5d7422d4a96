"""Edits apply to later runs; what becomes of a stopped run and of the watermark is asked first."""

from collections.abc import Callable

import pytest

from shared.catalog import DataModel, Full, Incremental, IteratorType, Pipeline
from shared.errors import DeclarationInvalid, FeedRefused, MoveNotAllowed
from shared.run import RunId, RunKind, RunState, Window
from shared.store import declared, edits, moves, notices
from shared.store.edits import Watermark
from shared.transformation import FieldMapping, FieldTransformation, MappingType
from tests.shared.store.stage import FEED, FULL, INCREMENTAL, T0, T1, USERS, VISITS, Stage

IGNORED = FieldMapping(mapping_type=MappingType.IGNORE, source="note")
OTHER_SQL = USERS.model_copy(update={"sql_query": "SELECT 2"})


def edit(stage: Stage, changes: dict[str, object], watermark: Watermark | None = None) -> bool:
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        return edits.put_pipeline(connection, pipeline.model_copy(update=changes), watermark)


def edit_model(stage: Stage, model: DataModel, watermark: Watermark | None = None) -> bool:
    with stage.database.transaction() as connection:
        return edits.put(connection, model, watermark)


def fail(stage: Stage, run_id: RunId) -> None:
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("no"))


@pytest.mark.parametrize(
    "mode",
    [
        FULL,
        INCREMENTAL.model_copy(update={"iterator_data_type": IteratorType.DATE}),
        INCREMENTAL.model_copy(update={"iterator_field": "other_at"}),
        INCREMENTAL.model_copy(update={"track_from": T0}),
    ],
)
def test_an_edit_that_changes_what_the_watermark_means_asks_what_becomes_of_it(
    stage: Stage, mode: Incremental | Full
) -> None:
    stage.past_history()
    with pytest.raises(DeclarationInvalid, match=r"sync_mode changes.*--keep-watermark.*--reset-watermark"):
        edit(stage, {"sync_mode": mode})
    assert edit(stage, {"sync_mode": mode}, Watermark.KEEP)
    assert stage.standing().watermark == T0


def test_other_sql_or_another_feed_asks_too(stage: Stage) -> None:
    stage.past_history()
    with stage.database.transaction() as connection:
        declared.put(connection, FEED.model_copy(update={"id": "eu1", "name": "EU 1"}))
    with pytest.raises(DeclarationInvalid, match="feed_id changes"):
        edit(stage, {"feed_id": "eu1"})
    with pytest.raises(DeclarationInvalid, match="the SQL of data model 'users' changes"):
        edit_model(stage, OTHER_SQL)
    assert edit_model(stage, OTHER_SQL, Watermark.KEEP)
    assert edit_model(stage, OTHER_SQL.model_copy(update={"name": "People"})), "a name asks nothing"


@pytest.mark.parametrize("changes", [{"name": "People"}, {"sync_mode": INCREMENTAL.model_copy(update={"until": T1})}])
def test_what_leaves_the_watermark_its_meaning_asks_nothing(stage: Stage, changes: dict[str, object]) -> None:
    stage.past_history()
    assert edit(stage, changes)
    assert not edit(stage, changes), "the same again changes nothing"


def to_events(stage: Stage, watermark: Watermark | None = None) -> bool:
    with stage.database.transaction() as connection:
        declared.put(connection, VISITS)
    return edit(stage, {"field_transformation_id": "visits"}, watermark)


def test_making_users_events_asks_and_another_mapping_of_events_does_not(stage: Stage) -> None:
    stage.past_history()
    with pytest.raises(DeclarationInvalid, match=r"whether its rows are events changes.*--keep-watermark"):
        to_events(stage)
    assert to_events(stage, Watermark.KEEP)
    other = VISITS.model_copy(update={"id": "other", "name": "Other"})
    with stage.database.transaction() as connection:
        assert edits.put(connection, other, None)
    assert edit(stage, {"field_transformation_id": "other"})
    with stage.database.transaction() as connection:
        assert edits.put(connection, other.model_copy(update={"mappings": (*VISITS.mappings, IGNORED)}), None)
    with pytest.raises(DeclarationInvalid, match="whether its rows are events changes"):
        edit(stage, {"field_transformation_id": None})


def test_a_mapping_waits_until_its_stopped_run_is_decided_on(stage: Stage) -> None:
    stage.past_history()
    assert to_events(stage, Watermark.KEEP)
    run_id, _ = stage.uploading([5], Window(T0, T1))
    fail(stage, run_id)
    other = VISITS.model_copy(update={"mappings": (*VISITS.mappings, IGNORED)})
    with (
        pytest.raises(MoveNotAllowed, match=f"abandon {stage.run(run_id).number}` first"),
        stage.database.transaction() as connection,
    ):
        edits.put(connection, other, None)
    with stage.database.transaction() as connection:
        assert declared.get(connection, FieldTransformation, "visits") == VISITS
        assert not edits.put(connection, VISITS, None), "the same again is no edit"
        moves.abandon(connection, run_id)
        assert edits.put(connection, other, None)


def test_a_reset_watermark_begins_a_new_generation_with_an_initial_sync(stage: Stage) -> None:
    stage.past_history()
    assert edit_model(stage, OTHER_SQL, Watermark.RESET)
    standing = stage.standing()
    assert (standing.generation, standing.watermark, standing.history_to) == (2, None, None)
    run = stage.run(stage.started())
    assert (run.kind, run.generation) == (RunKind.INITIAL, 2)
    with stage.database.transaction() as connection:
        (notice,) = notices.newest(connection, "people")
    assert "the watermark was reset from" in notice.message


def test_a_watermark_is_not_reset_under_a_run_that_is_at_work(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    with pytest.raises(MoveNotAllowed, match=f"is at work \\(run {stage.run(run_id).number}\\)"):
        edit_model(stage, OTHER_SQL, Watermark.RESET)
    assert edit_model(stage, OTHER_SQL, Watermark.KEEP), "it keeps its snapshot, so the edit may be made"


def test_a_failed_run_is_decided_on_before_an_edit(stage: Stage) -> None:
    stage.past_history()
    run_id, _ = stage.uploading([5], Window(T0, T1))
    fail(stage, run_id)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: edit_model(stage, OTHER_SQL, Watermark.KEEP),
        lambda: edit(stage, {"name": "People"}),
        lambda: edit(stage, {"sync_mode": FULL}, Watermark.RESET),
    )
    for attempt in attempts:
        with pytest.raises(
            MoveNotAllowed, match=f"retry {stage.run(run_id).number}` or `abandon {stage.run(run_id).number}` first"
        ):
            attempt()
    with stage.database.transaction() as connection:
        moves.abandon(connection, run_id)
    assert edit(stage, {"name": "People"})


def test_a_run_that_failed_before_it_was_planned_uses_what_was_corrected(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    fail(stage, run_id)
    assert edit_model(stage, OTHER_SQL, Watermark.KEEP)
    assert stage.trigger().runs == (run_id,)


def test_declaring_a_failed_pipeline_as_it_is_changes_nothing_and_is_allowed(stage: Stage) -> None:
    stage.past_history()
    fail(stage, stage.started())
    assert not edit(stage, {})
    assert not edit_model(stage, USERS)


def test_a_pipeline_that_never_read_is_edited_freely(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    assert edit(stage, {"sync_mode": FULL})
    assert edit_model(stage, OTHER_SQL)


def test_a_new_pipeline_is_declared_as_a_draft(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        pipeline: Pipeline = declared.get_pipeline(connection, "people").pipeline
        assert edits.put_pipeline(connection, pipeline.model_copy(update={"id": "others", "name": "Others"}), None)
        assert declared.get_pipeline(connection, "others").state == "draft"


def test_a_full_pipeline_that_was_incremental_asks_before_its_old_watermark_counts_again(stage: Stage) -> None:
    stage.past_history()
    assert edit(stage, {"sync_mode": FULL}, Watermark.KEEP)
    other = INCREMENTAL.model_copy(update={"iterator_field": "other_at"})
    with pytest.raises(DeclarationInvalid, match="--reset-watermark"):
        edit(stage, {"sync_mode": other})
    assert edit(stage, {"sync_mode": other}, Watermark.RESET)


def test_a_reset_ends_an_initial_sync_that_was_never_planned(stage: Stage) -> None:
    stage.past_history()
    assert edit_model(stage, OTHER_SQL, Watermark.RESET)
    run_id = stage.started()
    fail(stage, run_id)
    stage.write("UPDATE pipelines SET watermark = :mark", mark=T0)
    assert edit_model(stage, USERS, Watermark.RESET)
    assert stage.run(run_id).state is RunState.ABANDONED
    assert stage.run(stage.started()).generation == 3
