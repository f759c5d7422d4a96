"""Secrets come in as they are, are sealed before anything is stored, and never come out."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from console.api.app import build_api, describe
from console.operations import Operations
from shared import sealing
from shared.access import Identity, Role
from shared.feed import Feed
from shared.sealing import PrivateKey
from shared.secret_fields import purpose
from tests.console.api.conftest import Api
from tests.shared.store.stage import Stage

SECRET = "hunter2-in-the-clear"
FEED: dict[str, Any] = {
    "id": "us1",
    "name": "US",
    "base_url": "https://s2s.us1.mparticle.com/v2",
    "api_key": "us1-key",
    "api_secret": SECRET,
}
REDSHIFT: dict[str, Any] = {
    "id": "red",
    "name": "Red",
    "service_provider": "Redshift",
    "config": {
        "host": "one.abc.us-east-1.redshift.amazonaws.com",
        "database": "prod",
        "user": "sync",
        "password": SECRET,
    },
}
MASKS = ("*" * 12, "stored", None)


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    return sealing.generate()


@pytest.fixture(scope="session")
def sealer(operations: Operations, key: PrivateKey) -> Iterator[Api]:
    """An admin of a deployment that has a public key."""
    own = operations.settings.model_copy(update={"public_key": key.public.text})
    having = Operations(own)
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(build_api(having, local=Identity("sealer", Role.ADMIN))))
        yield Api(http, runner)
        runner.run(http.aclose())
    having.close()


def stored(operations: Operations, key: PrivateKey) -> str:
    feed = operations.resources.get(Feed, "us1").resource
    return sealing.open_sealed(feed.api_secret, purpose(feed), [key])


def everything(stage: Stage) -> str:
    tables = [row.name for row in stage.rows("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")]
    return "".join(str(stage.rows(f'SELECT t::text FROM "{table}" t')) for table in tables)


def test_a_secret_is_sealed_before_it_is_stored_and_only_its_kind_is_told(
    sealer: Api, operations: Operations, key: PrivateKey, stage: Stage
) -> None:
    made = sealer.post("/feeds", FEED)
    assert (made.status_code, made.json()["secrets"]) == (200, {"api_secret": "sealed"})
    assert stored(operations, key) == SECRET
    for answer in (made, sealer.get("/feeds"), sealer.get("/feeds/us1"), sealer.get("/audit")):
        assert SECRET not in answer.text
        assert "sealed:" not in answer.text
        assert "api_secret" not in json.dumps(answer.json()).replace('"secrets": {"api_secret"', "")
    assert SECRET not in everything(stage)


@pytest.mark.parametrize(
    ("reference", "kind"), [("env:WAREHOUSE_SYNC_SECRET_US1", "env"), ("file:/run/secrets/us1", "file")]
)
def test_a_reference_stays_what_it_is(admin: Api, operations: Operations, reference: str, kind: str) -> None:
    made = admin.post("/feeds", {**FEED, "api_secret": reference})
    assert made.json()["secrets"] == {"api_secret": kind}
    assert operations.resources.get(Feed, "us1").resource.api_secret == reference
    assert reference not in made.text


@pytest.mark.parametrize("given", [*MASKS, "absent"])
def test_a_secret_that_is_left_out_stays_as_it_is(
    sealer: Api, operations: Operations, key: PrivateKey, given: str | None
) -> None:
    sealer.post("/feeds", FEED)
    read = sealer.get("/feeds/us1").json()
    change = {**read, "name": "Other"} | ({} if given == "absent" else {"api_secret": given})
    changed = sealer.put("/feeds/us1", change)
    assert (changed.status_code, changed.json()["name"], changed.json()["warnings"]) == (200, "Other", [])
    assert stored(operations, key) == SECRET


@pytest.mark.parametrize("given", [*MASKS, "absent"])
def test_a_secret_is_not_shown_to_another_address_than_it_was_given_for(sealer: Api, given: str | None) -> None:
    sealer.post("/connections", REDSHIFT)
    config = {name: value for name, value in REDSHIFT["config"].items() if name != "password"}
    elsewhere = {**config, "host": "two.abc.us-east-1.redshift.amazonaws.com"}
    if given != "absent":
        elsewhere["password"] = given
    refused = sealer.put("/connections/red", {**REDSHIFT, "config": elsewhere})
    assert refused.status_code == 400
    assert "give the secret again" in refused.text
    assert sealer.get("/connections/red").json()["config"]["host"] == config["host"]
    again = sealer.put("/connections/red", {**REDSHIFT, "config": {**elsewhere, "password": SECRET}})
    assert again.json()["config"]["host"] == elsewhere["host"]


def test_a_connections_config_shows_no_secret(sealer: Api) -> None:
    made = sealer.post("/connections", REDSHIFT).json()
    assert made["secrets"] == {"config.password": "sealed"}
    assert "password" not in made["config"]


def test_a_secret_can_be_replaced(sealer: Api, operations: Operations, key: PrivateKey) -> None:
    sealer.post("/feeds", FEED)
    assert sealer.put("/feeds/us1", {**FEED, "api_secret": "another"}).status_code == 200
    assert stored(operations, key) == "another"


def test_without_a_key_a_plain_secret_is_refused_and_not_repeated(admin: Api, stage: Stage) -> None:
    refused = admin.post("/feeds", FEED)
    assert refused.status_code == 400
    assert "secrets keygen" in refused.text
    assert SECRET not in refused.text + everything(stage)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "not a slug"},
        {"base_url": "no address"},
        {"api_secret": [SECRET]},
        {"api_secret": {"value": SECRET}},
        {"unknown": SECRET},
        {"api_secret": SECRET * 2000},
        {"id": None},
    ],
)
def test_no_refusal_repeats_what_was_given(sealer: Api, wrong: dict[str, Any]) -> None:
    answer = sealer.post("/feeds", {**FEED, **wrong})
    assert answer.status_code == (200 if "unknown" in wrong else 400), answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize("provider", ["Redshft", None, "snowflake", "REDSHIFT "])
def test_no_refusal_of_a_connection_repeats_what_was_given(sealer: Api, provider: str | None) -> None:
    answer = sealer.post("/connections", {**REDSHIFT, "service_provider": provider})
    assert answer.status_code == 400
    assert SECRET not in answer.text


def test_a_service_accounts_key_is_compared_before_it_is_sealed(sealer: Api) -> None:
    config = {
        "project_id": "my-project-123456",
        "dataset_id": "d",
        "region": "us-east4",
        "service_account_id": "sync@my-project-123456.iam.gserviceaccount.com",
        "service_account_key": json.dumps({"type": "service_account", "client_email": "else@p", "key": SECRET}),
    }
    asked = {"id": "big", "name": "Big", "service_provider": "BigQuery", "config": config}
    refused = sealer.post("/connections", asked)
    assert (refused.status_code, "client_email is another" in refused.text) == (400, True)
    assert SECRET not in refused.text


def test_the_state_of_secrets_names_places_and_keys(sealer: Api, key: PrivateKey) -> None:
    sealer.post("/feeds", FEED)
    sealer.post("/feeds", {**FEED, "id": "us2", "name": "US 2", "api_secret": "env:WAREHOUSE_SYNC_SECRET_US2"})
    found = sealer.get("/secrets").json()
    assert (found["current_key"], found["references"], found["old_keys"]) == (key.public.id, 1, [])
    assert list(found["by_key"]) == [key.public.id]
    assert "us1" in found["by_key"][key.public.id][0]


def test_without_a_worker_secrets_are_not_moved(sealer: Api) -> None:
    refused = sealer.post("/secrets/rotation")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (503, "NoWorker")


def test_the_guides_steps_are_taken_as_the_document_has_them(sealer: Api) -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    steps = re.findall(r"^ask \$API(/[a-z-]+) -d '(.*?)'$", page, re.DOTALL | re.MULTILINE)
    assert len(steps) == 5
    known = {path.partition("}")[2] for path in describe()["paths"]}
    for path, body in steps:
        if path in known:
            answer = sealer.post(path, json.loads(body))
            assert (answer.status_code, answer.json()["warnings"]) == (200, []), answer.text
