"""Every service of the compose file, started with its own command and environment, does its work together."""

import base64
import http.client
import json
import signal
import time
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml

from sandbox import processes
from console.client import Client
from sandbox import processes
from sandbox.ports import LOOPBACK, free_port
from tests.deploy.compose import filled, services
from tests.deploy.processes import Grounds, Instance, ended, running, until_healthy
from tests.deploy.servers import PASSWORDS, ListedValkey, RolesPostgres, random_secret

FEW, MANY = 40, 30_000
SOFT_SHUTDOWN_S = 5
MARGIN_S = 15
"""How much longer a worker may take to end on a machine that is busy."""
PORTS = (8000, 5555, 8080, 9464)
WORKERS = {"control", "extract", "upload", "backfill-extract", "backfill-upload"}


def test_the_services_of_the_compose_file_sync_a_table_and_end_in_order(
    servers: tuple[RolesPostgres, ListedValkey], tmp_path: Path
) -> None:
    postgres, valkey = servers
    grounds = Grounds(
        tmp_path,
        {port: free_port() for port in PORTS},
        {"postgres": postgres.address.port, "valkey": valkey.address.port},
    )
    (grounds.folder("secrets/feeds") / "sandbox").write_text(random_secret())
    with duckdb.connect(grounds.folder("lake") / "mp.duckdb") as lake:
        for table, rows in (("few", FEW), ("many", MANY)):
            lake.execute(f"CREATE TABLE {table} AS SELECT range AS customer_id, 'basic' AS plan FROM range({rows})")
    told = services({**filled(), **PASSWORDS, "FEED_HOSTS": LOOPBACK, "DUCKDB_FOLDERS": "/lake"})
    # Celery sleeps through all of its soft shutdown, and nobody needs to watch it sleep for 20 s.
    told["worker-upload"].told["command"].extend(["--", f"soft_shutdown_timeout={SOFT_SHUTDOWN_S}"])
    with running(grounds, told) as instances:
        by_name = {one.name: one for one in instances}
        api = by_name["api-1"]
        # As the quick start says, before anything can be reached from elsewhere: until then the API refuses to start.
        created = api.run(["warehouse-sync", "tokens", "create", "me", "--role", "admin"])
        assert created.returncode == 0, created.stderr
        token = created.stdout.strip()
        if not api.is_healthy():
            restarted(api)
        until_healthy(instances, 60)

        api_url = f"http://{LOOPBACK}:{grounds.ports[8000]}"
        client = {"WAREHOUSE_SYNC_API_URL": api_url, "WAREHOUSE_SYNC_API_TOKEN": token}
        declared = tmp_path / "declared.yaml"
        declared.write_text(yaml.safe_dump(declarations(grounds)))
        applied = api.run(["warehouse-sync", "apply", str(declared)], **client)
        assert applied.returncode == 0, applied.stdout + applied.stderr
        with Client.elsewhere(api_url, token, "any") as signed_in:
            signed_in.text("POST", "/pipelines/few/activate")
            signed_in.text("POST", "/pipelines/few/trigger")
            assert processes.wait_for(lambda: accepted(grounds) == FEW, 60), situation(instances)
        signed_in_there = ("operator", PASSWORDS["FLOWER_PASSWORD"])

        def watched() -> set[str]:
            found = ask(grounds.ports[5555], "/api/workers?refresh=1", signed_in_there)
            return {name.partition("@")[0] for name in found}

        assert processes.wait_for(lambda: watched() == WORKERS, 30), watched()
        tasks = ask(grounds.ports[5555], "/api/tasks", signed_in_there)
        seen = {task["name"] for task in tasks.values()}
        assert {"warehouse_sync.extract_slice", "warehouse_sync.upload_chunk"} <= seen

            ask(grounds.ports[8080], "/faults", method="PUT", content={"delay_s": 1})
            signed_in.text("POST", "/pipelines/many/activate")
            signed_in.text("POST", "/pipelines/many/trigger")
            assert processes.wait_for(lambda: accepted(grounds) > FEW, 60), situation(instances)
        began_at = time.monotonic()
        codes = ended([by_name["worker-upload-1"]])
        took_s = time.monotonic() - began_at
        assert SOFT_SHUTDOWN_S <= took_s < SOFT_SHUTDOWN_S + MARGIN_S, situation(instances)
        assert chunks_left(postgres) == {"ready"}
        assert FEW < accepted(grounds) < FEW + MANY
        codes |= ended(instances)
    assert {name: code for name, code in codes.items() if code not in {0, None, 128 + signal.SIGTERM}} == {}


def chunks_left(postgres: RolesPostgres) -> set[str]:
    """In which states the chunks are that are not done; one that somebody holds is ``uploading``."""
    with psycopg.connect(postgres.as_role("reader")) as connection:
        return {state for (state,) in connection.execute("SELECT state FROM chunks WHERE state <> 'done'")}


def declarations(grounds: Grounds) -> dict[str, Any]:
    return {
        "feeds": [
            {
                "id": "sandbox",
                "name": "The stand-in",
                "base_url": f"http://{LOOPBACK}:{grounds.ports[8080]}/v2",
                "api_key": "us1-sandbox",
                "api_secret": f"file:{grounds.home}/secrets/feeds/sandbox",
            }
        ],
        "connections": [
            {
                "id": "lake",
                "name": "Files",
                "service_provider": "duckdb",
                "config": {"database": str(grounds.home / "lake" / "mp.duckdb")},
            }
        ],
        "data_models": [
            {"id": name, "name": name, "sql_query": f"SELECT customer_id, plan FROM mp.{name}"} for name in ("few", "many")
        ],
        "pipelines": [
            {
                "id": name,
                "name": name,
                "connection_id": "lake",
                "data_model_id": name,
                "feed_id": "sandbox",
                "environment": "development",
                "sync_mode": {"type": "full"},
            }
            for name in ("few", "many")
        ],
    }


def restarted(api: Instance) -> None:
    """Do what Docker does with a service that ended because nobody could sign in."""
    if api.child.has_ended():
        api.child.collect()
        api.child.start()


def accepted(grounds: Grounds) -> int:
    counters: dict[str, int] = ask(grounds.ports[8080], "/counters")
    return counters["batches"]


def situation(instances: list[Instance]) -> str:
    return "\n".join(f"--- {one.name}\n{one.child.log_tail()}" for one in instances)


def ask(
    port: int, path: str, sign_in: tuple[str, str] | None = None, *, method: str = "GET", content: object = None
) -> Any:
    headers = {}
    if sign_in is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(sign_in).encode()).decode()}"
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request(method, path, None if content is None else json.dumps(content), headers)
        answer = connection.getresponse()
        assert answer.status < 300, (path, answer.status)
        return json.loads(answer.read() or "null")
    finally:
        connection.close()
