"""Every service of the compose file, started with its own command and environment, does its work together."""

import base64
import http.client
import json
from pathlib import Path
from typing import Any

import duckdb
import yaml

from sandbox import processes
from console.client import Client
from sandbox import processes
from sandbox.ports import LOOPBACK, free_port
from tests.deploy.compose import filled, services
from tests.deploy.processes import Grounds, Instance, running, until_healthy
from tests.deploy.servers import PASSWORDS, ListedValkey, RolesPostgres, random_secret

USERS = 40
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
        lake.execute(f"CREATE TABLE users AS SELECT range AS customer_id, 'basic' AS plan FROM range({USERS})")
    told = {**filled(), **PASSWORDS, "FEED_HOSTS": LOOPBACK, "DUCKDB_FOLDERS": "/lake"}
    with running(grounds, services(told)) as instances:
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
        with Client.at(api_url, token, "any") as signed_in:
            signed_in.text("POST", "/pipelines/users/activate")
            signed_in.text("POST", "/pipelines/users/trigger")
            assert processes.wait_for(lambda: accepted(grounds) == USERS, 60), situation(instances)
        watched = ask(grounds.ports[5555], "/api/workers", ("operator", PASSWORDS["FLOWER_PASSWORD"]))
        assert {name.partition("@")[0] for name in watched} == WORKERS
        tasks = ask(grounds.ports[5555], "/api/tasks", ("operator", PASSWORDS["FLOWER_PASSWORD"]))
        assert {"warehouse_sync.extract_slice", "warehouse_sync.upload_chunk"} <= {
            task["name"] for task in tasks.values()
        }
        ended = {one.name: one.end() for one in instances}
    assert {name: code for name, code in ended.items() if code not in {0, 143}} == {}


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
        "data_models": [{"id": "users", "name": "Users", "sql_query": "SELECT customer_id, plan FROM mp.users"}],
        "pipelines": [
            {
                "id": "users",
                "name": "Users",
                "connection_id": "lake",
                "data_model_id": "users",
                "feed_id": "sandbox",
                "environment": "development",
                "sync_mode": {"type": "full"},
            }
        ],
    }


def restarted(api: Instance) -> None:
    """Do what Docker does with a service that ended because nobody could sign in."""
    if api.child.has_ended():
        api.child.collect()
        api.child.start()


def accepted(grounds: Grounds) -> int:
    counters: dict[str, int] = ask(grounds.ports[8080], "/counters")
    return counters["batches_accepted"]


def situation(instances: list[Instance]) -> str:
    return "\n".join(f"--- {one.name}\n{one.child.log_tail()}" for one in instances)


def ask(port: int, path: str, sign_in: tuple[str, str] | None = None) -> Any:
    headers = {}
    if sign_in is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(sign_in).encode()).decode()}"
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200, (path, answer.status)
        return json.loads(answer.read())
    finally:
        connection.close()
