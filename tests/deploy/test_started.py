"""Every service of the compose file, started with its own command and environment, does its work together."""

import base64
import http.client
import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import psycopg
import pytest
import yaml

from console.client import Client
from sandbox import processes
from sandbox.ports import LOOPBACK, free_port
from tests.deploy.compose import Service, filled, services
from tests.deploy.processes import Grounds, Instance, ended, running, until_healthy
from tests.deploy.servers import PASSWORDS, ListedValkey, RolesPostgres, random_secret
from tests.worker.sinks import Sinks, sinks_running

API, FLOWER, FEED, METRICS = 8000, 5555, 8080, 9464
FEW, MANY = 40, 30_000
LIMIT_S: Final = 150
"""A dozen processes of Python start at once, on a machine that may have two slow cores."""
SOFT_SHUTDOWN_S: Final = 5
MARGIN_S: Final = 30
"""How much longer a worker may take to end on a machine that is busy."""
WORKERS: Final = {"control", "extract", "upload", "backfill-extract", "backfill-upload"}


@pytest.mark.timeout(900)
def test_the_services_of_the_compose_file_sync_a_table_and_end_in_order(
    servers: tuple[RolesPostgres, ListedValkey], tmp_path: Path
) -> None:
    postgres, valkey = servers
    grounds = prepared(tmp_path, postgres, valkey)
    told = services({**filled(), **PASSWORDS, "FEED_HOSTS": LOOPBACK, "DUCKDB_FOLDERS": "/lake"})
    # Celery sleeps through all of its soft shutdown, and nobody needs to watch it sleep for 20 s.
    told["worker-upload"].told["command"].extend(["--", f"worker.soft_shutdown_timeout={SOFT_SHUTDOWN_S}"])
    told["beat"].told["environment"]["WAREHOUSE_SYNC_UPKEEP_EVERY_S"] = "1"
    with sinks_running() as sinks, running(grounds, with_channels(told, sinks)) as instances:
        by_name = {one.name: one for one in instances}
        token = first_token(by_name["api-1"])
        until_healthy(instances, LIMIT_S)

        api_url = f"http://{LOOPBACK}:{grounds.ports[API]}"
        declare(grounds, by_name["api-1"], api_url, token)
        with Client.elsewhere(api_url, token, "any") as client:
            # Flower answers before it has subscribed to events, and what it did not hear is not told again.
            until(lambda: heard_workers(grounds) >= WORKERS, instances)
            trigger(client, "few")
            until(lambda: accepted(grounds) == FEW, instances)
            until(lambda: watched_workers(grounds) == WORKERS, instances)
            tasks = {"warehouse_sync.extract_slice", "warehouse_sync.upload_chunk"}
            until(lambda: tasks <= watched_tasks(grounds), instances)

            # All is accepted a moment before the run is over, and until then no other may begin.
            until(lambda: runs_left(postgres) == 0, instances)
            assert "warehouse_sync_runs_ended_total" in fetch(grounds.ports[METRICS], "/metrics")

            ask(grounds.ports[FEED], "/faults", method="PUT", content={"status": 401})
            client.text("POST", "/pipelines/few/trigger")
            until(lambda: arrived(sinks) == {"webhook": 2, "slack": 2, "mail": 2}, instances)
            ask(grounds.ports[FEED], "/faults", method="PUT", content={})
            client.text("POST", f"/runs/{json.loads(sinks.posted('/webhook')[0].body)['run']['number']}/retry")
            until(lambda: accepted(grounds) == 2 * FEW, instances)
            until(lambda: arrived(sinks) == {"webhook": 4, "slack": 4, "mail": 4}, instances)
            assert sorted(changes(sinks)) == [
                (name, change) for name in ("credentials_refused", "run_failed") for change in ("opened", "recovered")
            ]

            ask(grounds.ports[FEED], "/faults", method="PUT", content={"delay_s": 1})
            trigger(client, "many")
            until(lambda: accepted(grounds) > 2 * FEW, instances)

        began_at = time.monotonic()
        codes = ended([by_name["worker-upload-1"]])
        took_s = time.monotonic() - began_at
        assert SOFT_SHUTDOWN_S <= took_s < SOFT_SHUTDOWN_S + MARGIN_S, situation(instances)
        # It was in the midst of it, and holds nothing any more: nobody has to wait for its leases to expire.
        assert chunks_left(postgres) == {"ready"}
        assert 2 * FEW < accepted(grounds) < 2 * FEW + MANY
        codes |= ended([one for one in instances if one.name != "worker-upload-1"])
    assert {name: code for name, code in codes.items() if code not in {0, 128 + signal.SIGTERM}} == {}


def with_channels(told: Mapping[str, Service], sinks: Sinks) -> Mapping[str, Service]:
    """Give the control worker, and nobody else, what stands in ``alerts.env``."""
    environment: dict[str, str] = told["worker-control"].told["environment"]
    environment |= {
        "WAREHOUSE_SYNC_ALERT_WEBHOOK_URL": f"http://{LOOPBACK}:{sinks.port}/webhook",
        "WAREHOUSE_SYNC_ALERT_SLACK_URL": f"http://{LOOPBACK}:{sinks.port}/slack",
        "WAREHOUSE_SYNC_ALERT_SMTP_URL": f"smtp://{LOOPBACK}:{sinks.mail_port}",
        "WAREHOUSE_SYNC_ALERT_EMAIL_FROM": "sync@example.com",
        "WAREHOUSE_SYNC_ALERT_EMAIL_TO": "night@example.com",
        "WAREHOUSE_SYNC_ALERT_CALM_S": "1",
    }
    return told


def arrived(sinks: Sinks) -> dict[str, int]:
    return {"webhook": len(sinks.posted("/webhook")), "slack": len(sinks.posted("/slack")), "mail": len(sinks.mails)}


def changes(sinks: Sinks) -> list[tuple[str, str]]:
    told = [json.loads(post.body) for post in sinks.posted("/webhook")]
    return [(one["name"], one["change"]) for one in told]


def prepared(home: Path, postgres: RolesPostgres, valkey: ListedValkey) -> Grounds:
    """Make what the quick start has people make: a secret of the stand-in's, and files to read."""
    ports = {port: free_port() for port in (API, FLOWER, FEED, METRICS)}
    grounds = Grounds(home, ports, {"postgres": postgres.address.port, "valkey": valkey.address.port})
    (grounds.folder("secrets/feeds") / "sandbox").write_text(random_secret())
    with duckdb.connect(grounds.folder("lake") / "mp.duckdb") as lake:
        for table, rows in (("few", FEW), ("many", MANY)):
            lake.execute(f"CREATE TABLE {table} AS SELECT range AS customer_id, 'basic' AS plan FROM range({rows})")
    return grounds


def first_token(api: Instance) -> str:
    """Make a token as the quick start says; until there is one, the API refuses to be reached from elsewhere."""
    assert processes.wait_for(api.child.has_ended, LIMIT_S), "the API serves, and nobody can sign in"
    api.child.collect()
    created = api.run(["warehouse-sync", "tokens", "create", "me", "--role", "admin"])
    assert created.returncode == 0, created.stderr
    api.child.start()
    return created.stdout.strip()


def declare(grounds: Grounds, api: Instance, url: str, token: str) -> None:
    names = ("few", "many")
    feed = {
        "id": "sandbox",
        "name": "The stand-in",
        "base_url": f"http://{LOOPBACK}:{grounds.ports[FEED]}/v2",
        "api_key": "us1-sandbox",
        "api_secret": f"file:{grounds.home}/secrets/feeds/sandbox",
    }
    lake = {
        "id": "lake",
        "name": "Files",
        "service_provider": "duckdb",
        "config": {"database": f"{grounds.home}/lake/mp.duckdb"},
    }
    common = {"connection_id": "lake", "feed_id": "sandbox", "environment": "development"}
    declarations = {
        "feeds": [feed],
        "connections": [lake],
        "data_models": [
            {"id": name, "name": name, "sql_query": f"SELECT customer_id, plan FROM mp.{name}"} for name in names
        ],
        "pipelines": [
            {"id": name, "name": name, "data_model_id": name, "sync_mode": {"type": "full"}, **common} for name in names
        ],
    }
    file = grounds.home / "declarations.yaml"
    file.write_text(yaml.safe_dump(declarations))
    signed_in = {"WAREHOUSE_SYNC_API_URL": url, "WAREHOUSE_SYNC_API_TOKEN": token}
    applied = api.run(["warehouse-sync", "apply", str(file)], **signed_in)
    assert applied.returncode == 0, applied.stdout + applied.stderr


def trigger(client: Client, pipeline: str) -> None:
    client.text("POST", f"/pipelines/{pipeline}/activate")
    client.text("POST", f"/pipelines/{pipeline}/trigger")


def accepted(grounds: Grounds) -> int:
    counters: dict[str, int] = ask(grounds.ports[FEED], "/counters")
    return counters["batches"]


def watched_workers(grounds: Grounds) -> set[str]:
    return {name.partition("@")[0] for name in ask_flower(grounds, "/api/workers?refresh=1")}


def heard_workers(grounds: Grounds) -> set[str]:
    return {name.partition("@")[0] for name in ask_flower(grounds, "/api/workers?status=1")}


def watched_tasks(grounds: Grounds) -> set[str]:
    return {task["name"] for task in ask_flower(grounds, "/api/tasks").values()}


def ask_flower(grounds: Grounds, path: str) -> Any:
    signed = base64.b64encode(f"operator:{PASSWORDS['FLOWER_PASSWORD']}".encode()).decode()
    return ask(grounds.ports[FLOWER], path, {"Authorization": f"Basic {signed}"})


def chunks_left(postgres: RolesPostgres) -> set[str]:
    """In which states the chunks are that are not done; one that somebody holds is ``uploading``."""
    with psycopg.connect(postgres.as_role("reader")) as connection:
        return {state for (state,) in connection.execute("SELECT state FROM chunks WHERE state <> 'done'")}


def runs_left(postgres: RolesPostgres) -> int:
    with psycopg.connect(postgres.as_role("reader")) as connection:
        return sum(1 for _ in connection.execute("SELECT FROM runs WHERE ended_at IS NULL"))


def until(condition: Callable[[], bool], instances: list[Instance]) -> None:
    assert processes.wait_for(condition, LIMIT_S), situation(instances)


def situation(instances: list[Instance]) -> str:
    return "\n".join(f"--- {one.name}\n{one.child.log_tail()}" for one in instances)


def ask(port: int, path: str, headers: dict[str, str] | None = None, **sent: Any) -> Any:
    return json.loads(fetch(port, path, headers, **sent) or "null")


def fetch(
    port: int, path: str, headers: dict[str, str] | None = None, *, method: str = "GET", content: object = None
) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request(method, path, None if content is None else json.dumps(content), headers or {})
        answer = connection.getresponse()
        assert answer.status < 300, (path, answer.status)
        return answer.read().decode()
    finally:
        connection.close()
