"""What operators declare, as rows."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.catalog import Connection, DataModel
from shared.errors import DeclarationInvalid, MoveNotAllowed, NotFound
from shared.feed import Feed, ProtectionLevel
from shared.run import Standing
from shared.store import declared, lives
from shared.transformation import FieldTransformation
from tests.shared.store.stage import FEED, FULL, INCREMENTAL, LAKE, T0, USERS, VISITS, Stage


@pytest.mark.parametrize("resource", [FEED, LAKE, USERS, VISITS])
def test_what_is_declared_comes_back_as_it_was(stage: Stage, resource: declared.DeclaredResource) -> None:
    kind: Any = type(resource)
    with stage.database.transaction() as connection:
        assert declared.put(connection, resource)
        assert declared.get(connection, kind, resource.id) == resource


def test_declaring_the_same_again_changes_nothing(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        row = declared.get_pipeline(connection, "people")
        for resource in (FEED, LAKE, USERS):
            assert not declared.put(connection, resource)
        assert not declared.put_pipeline(connection, row.pipeline)
    assert {row.modified_at for row in stage.rows("SELECT modified_at FROM feeds")} == {None}


def test_declaring_something_else_replaces_it_and_says_so(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        changed = FEED.model_copy(update={"name": "Another"})
        assert declared.put(connection, changed)
        assert declared.get(connection, Feed, FEED.id) == changed
    assert stage.rows("SELECT modified_at FROM feeds")[0].modified_at is not None


@pytest.mark.parametrize(
    ("kind", "noun"),
    [
        (Feed, "feed 'x'"),
        (Connection, "connection 'x'"),
        (DataModel, "data model 'x'"),
        (FieldTransformation, "field transformation 'x'"),
    ],
)
def test_what_was_never_declared_is_named(stage: Stage, kind: Any, noun: str) -> None:
    with stage.database.transaction() as connection, pytest.raises(NotFound, match=f"there is no {noun}"):
        declared.get(connection, kind, "x")


@pytest.mark.parametrize(
    ("field", "noun"),
    [
        ("connection_id", "connection"),
        ("data_model_id", "data model"),
        ("feed_id", "feed"),
        ("field_transformation_id", "field transformation"),
    ],
)
def test_a_pipeline_over_something_never_declared_is_refused(stage: Stage, field: str, noun: str) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline.model_copy(update={field: "x"})
        with pytest.raises(NotFound, match=f"there is no {noun} 'x'"):
            declared.put_pipeline(connection, pipeline)


def test_editing_a_pipeline_leaves_where_it_stands(stage: Stage) -> None:
    stage.past_history()
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        mode = INCREMENTAL.model_copy(update={"until": T0})
        edited = pipeline.model_copy(update={"sync_mode": mode, "name": "Other"})
        assert declared.put_pipeline(connection, edited)
        row = declared.get_pipeline(connection, "people")
    assert row.pipeline == edited
    assert row.standing == Standing(1, watermark=T0, history_to=T0, history_settled_to=T0)


def test_history_does_not_begin_in_the_future(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        mode = INCREMENTAL.model_copy(update={"track_from": datetime(2999, 1, 1, tzinfo=UTC)})
        with pytest.raises(DeclarationInvalid, match=r"sync_mode\.track_from .* lies in the future"):
            declared.put_pipeline(connection, pipeline.model_copy(update={"sync_mode": mode}))


def test_what_a_pipeline_uses_is_not_deleted_and_its_users_are_named(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        kind: Any
        for kind, resource in ((Feed, FEED), (Connection, LAKE), (DataModel, USERS)):
            with pytest.raises(MoveNotAllowed, match=f"{resource.id!r} is used by pipeline people"):
                declared.delete(connection, kind, resource.id)
        spare = USERS.model_copy(update={"id": "spare", "name": "Spare"})
        declared.put(connection, spare)
        declared.delete(connection, DataModel, "spare")
        with pytest.raises(NotFound, match="'spare'"):
            declared.get(connection, DataModel, "spare")


def test_a_feed_that_may_change_nobody_gets_no_user_pipeline(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        declared.put(connection, FEED.model_copy(update={"input_protection_level": ProtectionLevel.READ_ONLY}))
        pipeline = declared.get_pipeline(connection, "people").pipeline
        with pytest.raises(DeclarationInvalid, match="read_only"):
            declared.put_pipeline(connection, pipeline)


def test_a_feed_that_may_change_nobody_takes_events(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        declared.put(connection, FEED.model_copy(update={"input_protection_level": ProtectionLevel.READ_ONLY}))
        declared.put(connection, VISITS)
        pipeline = declared.get_pipeline(connection, "people").pipeline
        visits = pipeline.model_copy(update={"field_transformation_id": "visits"})
        assert declared.put_pipeline(connection, visits)
        assert declared.get_pipeline(connection, "people").pipeline == visits


def test_a_field_transformation_in_use_is_not_deleted(stage: Stage) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        declared.put(connection, VISITS)
        assert declared.users_of(connection, VISITS) == []
        pipeline = declared.get_pipeline(connection, "people").pipeline
        declared.put_pipeline(connection, pipeline.model_copy(update={"field_transformation_id": "visits"}))
        assert declared.users_of(connection, VISITS) == ["people"]
        with pytest.raises(MoveNotAllowed, match="field transformation 'visits' is used by pipeline people"):
            declared.delete(connection, FieldTransformation, "visits")
        declared.put_pipeline(connection, pipeline)
        declared.delete(connection, FieldTransformation, "visits")
        with pytest.raises(NotFound, match="'visits'"):
            declared.get(connection, FieldTransformation, "visits")


def test_pipelines_are_listed_by_id_and_found_by_what_they_use(stage: Stage) -> None:
    for pipeline_id in ("b", "a"):
        stage.declare(pipeline_id, mode=FULL)
    with stage.database.transaction() as connection:
        assert [row.pipeline.id for row in declared.list_pipelines(connection)] == ["a", "b"]
        for resource in (FEED, LAKE, USERS):
            assert sorted(declared.users_of(connection, resource)) == ["a", "b"]
        assert declared.users_of(connection, FEED.model_copy(update={"id": "other"})) == []


def test_a_name_belongs_to_one_of_its_kind(stage: Stage) -> None:
    stage.declare("people")
    with stage.database.transaction() as connection, pytest.raises(DeclarationInvalid, match="is that of feed 'us1'"):
        declared.put(connection, FEED.model_copy(update={"id": "eu1"}))
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        with pytest.raises(DeclarationInvalid, match="is that of pipeline 'people'"):
            declared.put_pipeline(connection, pipeline.model_copy(update={"id": "others"}))


def test_a_name_is_free_again_once_its_pipeline_is_deleted(stage: Stage) -> None:
    stage.declare("people")
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        lives.delete(connection, "people")
        assert declared.put_pipeline(connection, pipeline.model_copy(update={"id": "others"}))
