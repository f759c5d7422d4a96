"""Questions over HTTP and on the command line, answered by real workers, a warehouse and a stand-in mParticle."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from console.api.app import build_api
from console.cli import app
from shared.access import Identity, Role
from shared.catalog import Environment, Pipeline
from shared.schedule import OnDemand
from tests.system.deployment import Deployment
from tests.system.people import INCREMENTAL, PLANTED, QUERY, People


def command(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, catch_exceptions=False)


def answers(deployment: Deployment, *paths: str) -> list[tuple[int, Any]]:
    """What an operator is answered who asks one after the other."""
    api = build_api(deployment.operations, local=Identity("somebody", Role.OPERATOR))

    async def all_of_them() -> list[tuple[int, Any]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api.test") as http:
            found = [await http.post(f"/platform/v2/workspaces/any{path}", timeout=60) for path in paths]
        return [(answer.status_code, answer.json()) for answer in found]

    return asyncio.run(all_of_them())


def kind_of(refusal: dict[str, Any]) -> object:
    return refusal["errors"][0]["code"]


def test_a_warehouse_that_is_not_there_is_a_505_and_a_feed_that_refuses_is_not(
    people: People, deployment: Deployment
) -> None:
    people.declare()
    deployment.turn_faults(status=401)
    (tested, missing), (columns, _), (feed, refused) = answers(
        deployment, f"/connections/{people.id}/test", f"/pipelines/{people.id}/columns", "/feeds/sandbox/test"
    )
    assert (tested, columns, kind_of(missing)) == (505, 505, "WarehouseUnreachable")
    assert (feed, kind_of(refused)) == (400, "FeedSignInRefused")
    people.add(1)
    ((sent, refusal),) = answers(deployment, f"/pipelines/{people.id}/send")
    assert (sent, kind_of(refusal)) == (400, "FeedSignInRefused")


def test_a_query_that_the_warehouse_refuses_is_the_askers_mistake(people: People, deployment: Deployment) -> None:
    people.add(1)
    people.declare(query="SELECT nothing FROM people")
    ((status, refusal),) = answers(deployment, f"/pipelines/{people.id}/preview")
    assert (status, kind_of(refusal)) == (400, "ModelInvalid")


@pytest.mark.usefixtures("as_command")
def test_rows_are_sent_to_see_how_they_arrive_only_when_that_is_said(people: People, deployment: Deployment) -> None:
    people.declare()
    people.add(3)
    before = deployment.counters()["batches"]
    assert CliRunner().invoke(app, ["preview", people.id, "--send", "2"], input="n\n").exit_code == 1
    assert deployment.counters()["batches"] == before
    shown = command("preview", people.id, "--send", "2", "--yes")
    assert (shown.exit_code, "2 rows: 2 accepted in 2 batches" in shown.output) == (0, True), shown.output
    assert deployment.counters()["batches"] == before + 2
    assert "HTTP" in (told := command("test", "--feed", "sandbox").output) or "empty body" in told
    assert not [name for name, text in deployment.logs().items() if PLANTED in text]


@pytest.mark.usefixtures("as_command")
def test_a_review_is_shown_of_what_is_declared_and_of_a_file(people: People, tmp_path: Path) -> None:
    people.declare()
    people.add(4)
    shown = command("review", people.id)
    assert shown.exit_code == 0, shown.output
    for told in (
        "user_identities.customer_id",
        "Batches of 4 rows",
        "Profiles",
        PLANTED,
        "the first sync",
        "nothing was",
    ):
        assert told in shown.output, told
    pipeline = Pipeline(
        schedule=OnDemand(delay=timedelta(0)),
        id="drafted", name="Drafted", connection_id=people.id, data_model_id="short", feed_id="sandbox",
        environment=Environment.DEVELOPMENT, sync_mode=INCREMENTAL,
    )  # fmt: skip
    file = tmp_path / "draft.yaml"
    model = {"id": "short", "name": "Short", "sql_query": QUERY.replace("score, ", "")}
    file.write_text(yaml.safe_dump({"data_models": [model], "pipelines": [pipeline.model_dump(mode="json")]}))
    drafted = json.loads(command("review", "--file", str(file), "--rows", "2", "--json").output)
    assert (drafted["is_saved"], drafted["sample_rows"], drafted["readings"][0]["rows"]) == (False, 2, 4)
    assert "score" not in {column["name"] for column in drafted["columns"]}
    file.write_text(file.read_text().replace("changed_at FROM", "now() AS later FROM"))
    refused = command("review", "--file", str(file))
    assert refused.exit_code == 1
    assert "cannot run" in refused.output
