"""Secrets that are easy to recognise, used in every way, and then looked for everywhere that anything is kept."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shared import catalog
from shared.errors import CredentialsRefused, SyncError
from shared.feed import Feed
from shared.key_file import add_key
from shared.probe import ProbeKind, Question
from shared.providers.redshift import RedshiftConfig
from shared.run import RunState
from shared.store import declared
from shared.store.ground import metadata
from tests.collector import Collector
from tests.system.deployment import PLANTED_SECRET, Deployment
from tests.system.flower import Flower
from tests.system.people import People
from tests.system.test_watching import dumped

WRONG = "planted-and-wrong-41d7"
PASSWORD = "planted-password-b05e"
_KEPT_ON_PURPOSE = ("secrets", "private-keys")


def seal_feed(deployment: Deployment, feed_id: str, secret: str) -> Feed:
    feed = deployment.premises.feed().model_copy(update={"id": feed_id, "name": feed_id})
    sealed = deployment.operations.secrets.seal_all(feed, {"api_secret": secret})
    deployment.operations.declare(sealed)
    return sealed


def sealed_connection(deployment: Deployment) -> catalog.Connection:
    """A warehouse that refuses the sign-in: the deployment's own PostgreSQL, asked as Redshift."""
    config = RedshiftConfig(
        host="127.0.0.1",
        port=deployment.postgres.address.port,
        database="postgres",
        user="planted",
        password="env:TO_BE_SEALED",
        tls="off",
    )
    open_ = catalog.Connection(
        id="planted", name="planted", service_provider=catalog.ServiceProvider.REDSHIFT, config=config
    )
    sealed = deployment.operations.secrets.seal_all(open_, {"config.password": PASSWORD})
    with deployment.database.transaction() as store:
        declared.put(store, sealed)
    return sealed


def spellings(secret: str) -> Iterator[bytes]:
    """A secret as it is, and as it stands in the base64 of a longer text, wherever it begins in that."""
    yield secret.encode()
    for before in range(3):
        text = base64.b64encode(b"x" * before + secret.encode() + b"xx").decode()
        yield text[4:-8].encode()  # Its ends depend on what is around.


def files_in(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in home.rglob("*"):
        if path.relative_to(home).parts[0] not in _KEPT_ON_PURPOSE:
            with suppress(OSError):
                yield str(path), path.read_bytes()


def command_lines(deployment: Deployment) -> str:
    found = []
    for name in deployment.programs:
        for pid in deployment.supervisor.pids(name):
            with suppress(psutil.Error):
                found += psutil.Process(pid).cmdline()
    return " ".join(found)


def test_no_secret_is_found_anywhere_it_was_not_put(
    people: People, deployment: Deployment, flower: Flower, collector: Collector
) -> None:
    of_stand_in = deployment.secret.read_text()
    good = seal_feed(deployment, "planted-sealed", of_stand_in)
    wrong = seal_feed(deployment, "planted-wrong", WRONG)
    by_name = good.model_copy(
        update={"id": "planted-env", "name": "planted-env", "api_secret": "env:WAREHOUSE_SYNC_SECRET_PLANTED"}
    )
    deployment.operations.declare(by_name)
    connection = sealed_connection(deployment)

    people.add(300)
    people.declare(catalog.Full(), feed_id=good.id)
    deployment.turn_faults(delay_s=0.1)
    people.settle()
    for feed in (wrong, by_name):  # What is in the environment is not the stand-in's secret either.
        failing = People(deployment, f"{people.id[:60]}-{feed.id}")
        failing.add(20)
        failing.declare(catalog.Full(), feed_id=feed.id)
        assert failing.expect(failing.trigger(), RunState.FAILED).error_kind == CredentialsRefused.__name__
    with pytest.raises(SyncError) as refused:
        deployment.operations.ask(Question(kind=ProbeKind.TEST, connection_id=connection.id))
    key = add_key(Path(deployment.premises.environment["WAREHOUSE_SYNC_PRIVATE_KEYS"])).public
    resealed = deployment.operations.ask(Question(kind=ProbeKind.RESEAL, public_key=key.text)).resealing
    assert resealed is not None
    assert resealed.resealed >= 3
    people.settle()
    deployment.operations.secrets.rotate()  # Back to the deployment's own key, for whoever shares it.

    seen = dict(files_in(deployment.home))
    assert any(b"upload_chunk" in content for path, content in seen.items() if "valkey" in path), "messages are there"
    assert any(path.endswith("upload.log") for path in seen)
    texts = {table.name: dumped(deployment, table) for table in metadata.sorted_tables}
    texts |= {path: json.dumps(flower.get(path)) for path in ("/api/tasks?limit=10000", "/api/workers?refresh=1")}
    texts |= {"command lines": command_lines(deployment), "refusal": str(refused.value)}
    texts |= {one.id: f"{one!r} {one.model_dump_json()}" for one in (good, wrong, by_name, connection)}
    assert good.id in texts["feeds"]
    seen |= {name: text.encode() for name, text in texts.items()}
    seen["traces"] = b"".join(collector.bodies)
    for secret in (of_stand_in, WRONG, PASSWORD, PLANTED_SECRET):
        for spelt in spellings(secret):
            assert [place for place, content in seen.items() if spelt in content] == []


def test_whoever_looks_so_would_find_a_secret_in_a_message() -> None:
    message = base64.b64encode(json.dumps([["id"], {"password": WRONG}]).encode())
    assert any(spelt in message for spelt in spellings(WRONG))
    assert not any(spelt in message for spelt in spellings(PASSWORD))
