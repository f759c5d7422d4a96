"""A plan says what apply does, apply does all or nothing, and doing it again changes nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from console.declarations import read_document
from console.declaring import Declaring
from console.plan_lines import plan_lines
from console.planning import Action, FieldChange, Plan, fields_changed
from sandbox.processes import wait_for
from shared.catalog import Pipeline
from shared.errors import ChangedMeanwhile, DeclarationInvalid, FeedRefused, MoveNotAllowed, WatermarkUndecided
from shared.run import RunState, Window
from shared.store import edits, lives, moves, records, totals
from shared.store.edits import Watermark
from tests.shared.store.stage import FEED, INCREMENTAL, LAKE, T0, T1, USERS, Stage

LIMIT_S = 60
MODE = INCREMENTAL.model_dump(mode="json", exclude_defaults=True) | {"type": "incremental"}
PEOPLE = {
    "id": "people",
    "name": "people",
    "connection_id": "lake",
    "data_model_id": "users",
    "feed_id": "us1",
    "environment": "development",
    "sync_mode": MODE,
}


def documented(**changes: Any) -> dict[str, Any]:
    """Give a document that declares what the stage does, with other lists in the place of some."""
    return {
        "feeds": [FEED.model_dump(mode="json")],
        "connections": [LAKE.model_dump(mode="json")],
        "data_models": [USERS.model_dump(mode="json")],
        "pipelines": [PEOPLE],
        **changes,
    }


def people(**changes: Any) -> dict[str, Any]:
    return documented(pipelines=[{**PEOPLE, **changes}])


def actions(plan: Plan) -> dict[str, str]:
    return {f"{change.kind} {change.id}": str(change.action) for change in plan.changes}


def state_of(stage: Stage, pipeline_id: str = "people") -> str:
    (row,) = stage.rows("SELECT state FROM pipelines WHERE id = :id", id=pipeline_id)
    return str(row.state)


def test_a_plan_says_what_apply_does_and_does_nothing_itself(stage: Stage, declaring: Declaring) -> None:
    document = read_document(documented())
    plan = declaring.plan(document)
    assert actions(plan) == {
        "feed us1": "create",
        "connection lake": "create",
        "data model users": "create",
        "pipeline people": "create",
    }
    assert stage.rows("SELECT id FROM feeds") == []
    assert declaring.apply(document, expected=plan.digest) == plan
    assert declaring.plan(document).is_empty
    assert declaring.apply(document).count(Action.UNCHANGED) == 4
    assert state_of(stage) == "draft"
    with stage.database.transaction() as connection:
        assert records.of(connection, type(FEED), "us1").version == 1


def test_what_was_shown_is_what_is_done(declaring: Declaring) -> None:
    declaring.apply(read_document(documented()))
    shown = declaring.plan(read_document(people(merge=False)))
    declaring.apply(read_document(people(on_null="delete")))
    with pytest.raises(ChangedMeanwhile, match="look at the plan again"):
        declaring.apply(read_document(people(merge=False)), expected=shown.digest)


def test_fields_are_told_by_path_and_secrets_only_as_changed(declaring: Declaring) -> None:
    declaring.apply(read_document(documented()))
    changed = FEED.model_copy(update={"api_secret": "env:WAREHOUSE_SYNC_SECRET_OTHER", "gzip": True})
    plan = declaring.plan(
        read_document(
            people(schedule={"type": "on_demand", "delay": "1m"}) | {"feeds": [changed.model_dump(mode="json")]}
        )
    )
    feed, _, _, pipeline = plan.changes
    assert feed.fields == (FieldChange("api_secret", is_shown=False), FieldChange("gzip", before=False, after=True))
    assert pipeline.fields == (FieldChange("schedule.delay", "PT5M", "PT1M"),)
    assert "SECRET" not in repr(plan)


def test_every_refusal_is_known_and_nothing_is_kept(stage: Stage, declaring: Declaring) -> None:
    stranger = FEED.model_dump(mode="json") | {"base_url": "https://stranger.example/v2"}
    document = read_document(people(connection_id="lack") | {"feeds": [stranger]})
    plan = declaring.plan(document)
    told = {change.id: change.refusal for change in plan.refused}
    assert "WAREHOUSE_SYNC_FEED_HOSTS" in str(told["us1"])
    assert told["people"] == "pipelines.0 (people).connection_id: there is no connection 'lack'; did you mean lake?"
    with pytest.raises(DeclarationInvalid, match=r"FEED_HOSTS(.|\n)*did you mean lake"):
        declaring.apply(document)
    assert stage.rows("SELECT id FROM data_models") == []


def test_what_needs_something_refused_says_so(declaring: Declaring) -> None:
    stranger = FEED.model_dump(mode="json") | {"base_url": "https://stranger.example/v2"}
    plan = declaring.plan(read_document(documented(feeds=[stranger])))
    assert [change.refusal for change in plan.refused][1] == "pipeline 'people' needs feed 'us1', which is refused"


def test_an_edit_that_asks_about_the_watermark_is_planned_with_the_question(stage: Stage, declaring: Declaring) -> None:
    stage.past_history()
    other = read_document(documented(data_models=[{"id": "users", "name": "Users", "sql_query": "SELECT 2"}]))
    (change,) = declaring.plan(other).refused
    assert (change.action, change.notes) == (Action.CHANGE, ("asks what becomes of the watermark",))
    assert change.fields == (FieldChange("sql_query", "SELECT 1", "SELECT 2"),)
    with pytest.raises(WatermarkUndecided, match="--keep-watermark"):
        declaring.apply(other)
    kept = declaring.plan(other, watermark=Watermark.KEEP)
    assert any("is kept" in note for change in kept.changes for note in change.notes)
    declaring.apply(other, watermark=Watermark.RESET)
    assert stage.standing().generation == 2


def test_a_pipeline_held_by_a_stopped_run_is_planned_with_the_run(stage: Stage, declaring: Declaring) -> None:
    stage.past_history()
    run_id, _ = stage.uploading([5], Window(T0, T1))
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("no"))
    (change,) = declaring.plan(read_document(people(merge=False))).refused
    assert change.error_kind == "MoveNotAllowed"
    assert f"abandon {stage.run(run_id).number}`" in str(change.refusal)
    with pytest.raises(MoveNotAllowed):
        declaring.apply(read_document(people(merge=False)))


@pytest.mark.parametrize("names", [("b", "c"), ("c", "b")])
def test_names_that_move_on_need_no_order(declaring: Declaring, names: tuple[str, str]) -> None:
    models = [{"id": f"m{no}", "name": name, "sql_query": "SELECT 1"} for no, name in enumerate(("a", "b"))]
    declaring.apply(read_document({"data_models": models}))
    moved = [{**model, "name": name} for model, name in zip(models, names, strict=True)]
    assert declaring.apply(read_document({"data_models": moved})).count(Action.CHANGE) >= 1


class TestStates:
    def test_a_pipeline_is_brought_into_the_state_that_it_should_be_in(
        self, stage: Stage, declaring: Declaring
    ) -> None:
        assert declaring.apply(read_document(people(state="active"))).count(Action.CREATE) == 4
        assert state_of(stage) == "active"
        paused = declaring.apply(read_document(people(state="paused")))
        assert paused.changes[-1].fields == (FieldChange("state", "active", "paused"),)
        assert declaring.apply(read_document(people(state="paused"))).is_empty
        assert declaring.apply(read_document(people())).is_empty, "unset: it stays as it is"
        declaring.apply(read_document(people(state="active", merge=False)))
        assert state_of(stage) == "active"

    def test_a_new_pipeline_may_begin_paused(self, stage: Stage, declaring: Declaring) -> None:
        declaring.apply(read_document(people(state="paused")))
        assert state_of(stage) == "paused"

    def test_what_was_activated_is_no_draft_again(self, declaring: Declaring) -> None:
        declaring.apply(read_document(people(state="active")))
        with pytest.raises(MoveNotAllowed, match="cannot become a draft again; say `state: paused`"):
            declaring.apply(read_document(people(state="draft")))

    def test_one_that_cannot_begin_is_not_even_declared(self, stage: Stage, declaring: Declaring) -> None:
        with pytest.raises(DeclarationInvalid, match="declares no environment"):
            declaring.apply(read_document(people(state="active", environment=None)))
        assert stage.rows("SELECT id FROM pipelines") == []


class TestPruning:
    def test_what_is_left_out_stays_unless_it_is_pruned(self, stage: Stage, declaring: Declaring) -> None:
        declaring.apply(read_document(documented()))
        declaring.apply(read_document({"data_models": [{"id": "idle", "name": "Idle", "sql_query": "SELECT 1"}]}))
        assert declaring.apply(read_document(documented())).is_empty
        plan = declaring.plan(read_document(documented()), prune=True)
        assert plan.count(Action.DELETE) == 1
        declaring.apply(read_document(documented()), prune=True, expected=plan.digest)
        assert [row.id for row in stage.rows("SELECT id FROM data_models")] == ["users"]
        assert declaring.apply(read_document(documented()), prune=True).is_empty

    def test_open_runs_of_a_pipeline_are_named_before_it_is_deleted(self, stage: Stage, declaring: Declaring) -> None:
        stage.past_history()
        run = stage.run(stage.started())
        plan = declaring.apply(read_document(documented(pipelines=[])), prune=True)
        (gone,) = (change for change in plan.changes if change.action is Action.DELETE)
        assert f"its open runs ({run.number}) are cancelled" in gone.notes[0]
        assert stage.run(run.id).state is RunState.CANCELLED
        again = read_document({"feeds": [FEED.model_dump(mode="json") | {"id": "other", "name": "Other"}]})
        kept = [change.notes for change in declaring.apply(again, prune=True).changes if change.id == "us1"]
        assert kept == [("not declared here, and kept: runs of the deleted pipeline people name it",)]

    def test_pruning_waits_for_who_counts_for_several_pipelines(self, stage: Stage, declaring: Declaring) -> None:
        stage.past_history()
        stage.started()
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with ThreadPoolExecutor(1) as threads:
            with stage.database.transaction() as upkeep:
                totals.alone(upkeep)
                pruned = threads.submit(declaring.apply, read_document(documented(pipelines=[])), prune=True)
                assert wait_for(lambda: bool(stage.rows(waits)), LIMIT_S)
            assert pruned.result(LIMIT_S).count(Action.DELETE) == 1

    def test_what_a_declared_pipeline_uses_is_not_pruned(self, declaring: Declaring) -> None:
        declaring.apply(read_document(documented()))
        (change,) = declaring.plan(read_document(documented(feeds=[])), prune=True).refused
        assert (change.id, "is used by pipeline people" in str(change.refusal)) == ("us1", True)

    def test_a_name_of_something_pruned_is_free(self, stage: Stage, declaring: Declaring) -> None:
        declaring.apply(read_document(documented()))
        again = {**PEOPLE, "id": "people2"}
        declaring.apply(read_document(documented(pipelines=[again])), prune=True)
        assert state_of(stage, "people") == "deleted"


def test_a_resumed_pipeline_sends_what_it_has_to(stage: Stage, declaring: Declaring, sent: list[Any]) -> None:
    stage.past_history()
    run_id = stage.started()
    with stage.database.transaction() as connection:
        lives.pause(connection, "people")
    declaring.plan(read_document(people(state="active")))
    assert state_of(stage) == "paused"
    assert sent == [], "a plan sends nothing"
    declaring.apply(read_document(people(state="active")))
    assert [message.id for message in sent[-1].messages] == [run_id]


def test_two_documents_at_once_are_applied_one_after_the_other(stage: Stage, declaring: Declaring) -> None:
    names = ("users", "people", "customers", "readers")
    declaring.apply(read_document(documented()))
    documents = [
        read_document(
            documented(data_models=[{"id": "users", "name": name, "sql_query": "SELECT 1"}], pipelines=[some])
        )
        for name, some in zip(names, [PEOPLE, {**PEOPLE, "merge": False}] * 2, strict=True)
    ]
    with ThreadPoolExecutor(len(documents)) as pool:
        plans = list(pool.map(declaring.apply, documents))
    assert sum(plan.count(Action.CHANGE) for plan in plans) >= len(documents)
    (row,) = stage.rows("SELECT document, version FROM data_models")
    assert row.document["name"] in names
    assert row.version == 1 + sum(plan.changes[2].action is Action.CHANGE for plan in plans)


def test_a_declaration_that_changes_while_it_is_applied_stops_everything(stage: Stage, declaring: Declaring) -> None:
    declaring.apply(read_document(documented()))
    document = read_document(people(merge=False))
    with stage.database.transaction() as connection, ThreadPoolExecutor(1) as pool:
        before = records.of(connection, Pipeline, "people")
        edits.put_pipeline(connection, document.pipelines[0].pipeline.model_copy(update={"name": "Others"}), None)
        applying = pool.submit(declaring.apply, document)
        _wait_for_somebody_who_waits(stage)
        connection.commit()
        with pytest.raises(ChangedMeanwhile, match="you read version 1"):
            applying.result(timeout=LIMIT_S)
    assert before.version == 1


def _wait_for_somebody_who_waits(stage: Stage) -> None:
    until = time.monotonic() + LIMIT_S
    while not stage.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
        assert time.monotonic() < until, "nobody waits"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": [{"b": {"c": 1}}]}, {"a": [{"b": {"c": True}}]}, [FieldChange("a.0.b.c", 1, after=True)]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, [FieldChange("a.0.b", 1, 2)]),
        ({"a": [{"b": 1}]}, {"a": []}, [FieldChange("a", [{"b": 1}], [])]),
        ({"a": None}, {"a": {"b": 1}}, [FieldChange("a", None, {"b": 1})]),
        (
            {"config": {"password": "x"}},
            {"config": {"password": "y"}},
            [FieldChange("config.password", is_shown=False)],
        ),
        (
            {"data_plan": {"document": {}}},
            {"data_plan": {"document": {"a": 1}}},
            [FieldChange("data_plan.document", is_shown=False)],
        ),
        ({"data_plan": None}, {"data_plan": {"document": {"a": 1}}}, [FieldChange("data_plan", is_shown=False)]),
    ],
)
def test_a_difference_is_told_by_the_deepest_path(before: Any, after: Any, said: list[FieldChange]) -> None:
    assert list(fields_changed(before, after, ["config.password"])) == said


def test_a_plan_is_shown_in_lines(declaring: Declaring) -> None:
    declaring.apply(read_document(documented()))
    query = {"id": "users", "name": "Users", "sql_query": "SELECT 1\nFROM a"}
    assert list(
        plan_lines(declaring.plan(read_document(people(merge=False, connection_id="l") | {"data_models": [query]})))
    ) == [
        "~ data model users",
        "    sql_query:",
        "      @@ -1 +1,2 @@",
        "       SELECT 1",
        "      +FROM a",
        "~ pipeline people",
        "    connection_id: lake -> l",
        "    merge: true -> false",
        "    REFUSED: pipelines.0 (people).connection_id: there is no connection 'l'",
        "2 changed, 2 unchanged; 1 of them refused, so nothing is done",
    ]
    assert list(plan_lines(declaring.plan(read_document(documented())))) == ["4 unchanged"]
