"""The guide's setup tutorial, all seven steps, by the API and by the command line; both are recorded for readers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import httpx
import pytest

from console.operations import Operations
from sandbox import stack
from sandbox.ports import free_port
from sandbox.premises import FEED_KEY
from sandbox.supervisor import Supervisor
from shared.access import Role
from tests.system.deployment import UNWEARYING, Deployment
from tests.system.sessions import Caller, Session, Terminal

PEOPLE = 3


@pytest.fixture
def server(deployment: Deployment) -> Iterator[httpx.Client]:
    """The API as `warehouse-sync serve` serves it, and an admin's token."""
    port = free_port()
    operations: Operations = deployment.operations
    token = operations.access.create_token("tutorial", Role.ADMIN, days=1).text
    program = stack.api(deployment.home, deployment.premises.environment, port=port)
    with (
        Supervisor(deployment.home, [program], patience=UNWEARYING),
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=60
        ) as http,
    ):
        yield http


def warehouse_of(deployment: Deployment, name: str, statements: str) -> Path:
    """Make a warehouse file where connections may read."""
    file = deployment.premises.warehouse.parent / f"{name}.duckdb"
    with duckdb.connect(str(file)) as warehouse:
        warehouse.execute(statements)
    return file


def people() -> str:
    when = datetime.now(UTC) - timedelta(hours=1)
    return (
        "CREATE TABLE people AS SELECT 'tutorial-' || i AS customer_id, 'Zoë' AS firstname, 'gold' AS plan,"
        f" TIMESTAMP '{when:%Y-%m-%d %H:%M:%S}' AS updated_at FROM range({PEOPLE}) t(i)"
    )


def visits() -> str:
    when = datetime.now(UTC) - timedelta(hours=1)
    return (
        "CREATE TABLE visits AS SELECT 'visitor-' || i AS customer_id, '/prices' AS page,"
        f" TIMESTAMP '{when:%Y-%m-%d %H:%M:%S}' AS visited_at FROM range({PEOPLE}) t(i)"
    )


def test_the_seven_steps_by_the_api(deployment: Deployment, server: httpx.Client) -> None:
    file = warehouse_of(deployment, "tutorial-people", people())
    secret = deployment.secret.read_text(encoding="utf-8")
    session = Session(
        "Setting up by the API",
        "mParticle's setup tutorial for user data, as a program does it. Recorded by a test that runs it against a\n"
        "server, workers and a stand-in mParticle; instants and ids are replaced. Each call carries\n"
        "`Authorization: Bearer TOKEN`, and paths begin with `/platform/v2/workspaces/12345`.",
        hidden={secret: "the input's secret", str(file): "/data/people.duckdb", FEED_KEY: "us1-0123456789abcdef"},
    )
    caller = Caller(session, server)

    session.step(
        "1 Prepare your data warehouse", "A DuckDB file stands for it here, in a folder that workers may read."
    )
    session.step(
        "2 Create a new warehouse input", "The input's key and secret. The secret is sealed before it is stored."
    )
    caller.call(
        "POST",
        "/feeds",
        {
            "id": "tutorial",
            "name": "Tutorial input",
            "base_url": f"{deployment.premises.feed_url}/v2",
            "api_key": FEED_KEY,
            "api_secret": secret,
            "quota_group": "sandbox",
            "batches_per_s": 270,
        },
    )
    caller.call("POST", "/feeds/tutorial/test", shown=["feed"])
    session.step("3 Connect warehouse", "And have a worker sign in to it.")
    caller.call(
        "POST",
        "/connections",
        {
            "id": "tutorial-people",
            "name": "Tutorial people",
            "service_provider": "DuckDB",
            "config": {"database": str(file)},
        },
    )
    caller.call("POST", "/connections/tutorial-people/test", shown=["session", "warehouse_now"])
    session.step("4 Create data model", "And run its query.")
    caller.call(
        "POST",
        "/data-models",
        {
            "id": "tutorial-people",
            "name": "Tutorial people",
            "type": "sql",
            "sql_query": 'SELECT customer_id, firstname AS "$firstname", plan, updated_at FROM people ORDER BY 1',
        },
    )
    queried = caller.call(
        "POST",
        "/probes",
        {"kind": "query", "connection_id": "tutorial-people", "data_model_id": "tutorial-people", "rows": 2},
        shown=["columns", "rows"],
    )
    assert [column["name"] for column in queried["columns"]] == ["customer_id", "$firstname", "plan", "updated_at"]
    session.step("5 Create data mapping", "Users are mapped by the names of columns, as the answer above says of each.")
    session.step("6 Set sync settings", "A new pipeline is a draft.")
    caller.call(
        "POST",
        "/pipelines",
        {
            "id": "tutorial-people",
            "name": "Tutorial people",
            "connection_id": "tutorial-people",
            "data_model_id": "tutorial-people",
            "feed_id": "tutorial",
            "environment": "development",
            "sync_mode": {
                "type": "incremental",
                "iterator_field": "updated_at",
                "iterator_data_type": "timestamp",
            },
            "schedule": {"type": "interval", "frequency": "daily", "start": "2099-12-01T06:00:00Z", "delay": "0s"},
        },
        shown=["id", "state", "sync_mode", "schedule", "environment"],
    )
    before = deployment.counters()
    session.step("7 Review", "What it would do. Nothing is sent for it. Then activate it.")
    review = caller.call("POST", "/pipelines/tutorial-people/review", {"rows": 2})
    assert review["refused"] is None
    assert [reading["rows"] for reading in review["readings"] if reading["reads"] == "first_sync"] == [PEOPLE]
    assert deployment.counters() == before, "a review sends nothing"
    caller.call("POST", "/pipelines/tutorial-people/activate", shown=["id", "state"])
    session.step("Manage a sync", "Run it now, look at it, pause and resume it.")
    begun = caller.call("POST", "/pipelines/tutorial-people/trigger")
    assert begun["status"] == "trigger_requested"
    deployment.ended(deployment.operations.find_run(str(begun["pipeline_run_id"])))
    (run,) = caller.call("GET", "/pipelines/tutorial-people/runs")
    assert run["successful_records"] == PEOPLE
    caller.call("GET", "/pipelines/tutorial-people/status")
    caller.call("POST", "/pipelines/tutorial-people/pause", shown=["id", "state"])
    caller.call("POST", "/pipelines/tutorial-people/resume", shown=["id", "state"])
    profile = deployment.premises.ask("/profiles?customer_id=tutorial-0")
    assert profile["user_attributes"]["$firstname"] == "Zoë"
    session.check("setup-by-api.md")


def test_the_seven_steps_by_commands(deployment: Deployment, tmp_path: Path) -> None:
    file = warehouse_of(deployment, "tutorial-visits", visits())
    session = Session(
        "Setting up by commands",
        "mParticle's setup tutorial for event data, done at a terminal. Recorded by a test that runs it\n"
        "over workers and a stand-in mParticle; instants and ids are replaced.",
        hidden={
            str(file): "/data/visits.duckdb",
            str(deployment.secret): "/run/secrets/feed",
            FEED_KEY: "us1-0123456789abcdef",
        },
    )
    terminal = Terminal(session, tmp_path, deployment.premises.environment)
    session.step(
        "1 to 3 Prepare the warehouse, create the input, connect", "What is declared stands in a file; secrets do not."
    )
    terminal.write(
        "warehouse.yaml",
        f"""feeds:
  - id: tutorial-events
    name: Tutorial events
    base_url: {deployment.premises.feed_url}/v2
    api_key: {FEED_KEY}
    api_secret: file:{deployment.secret}
    quota_group: sandbox
connections:
  - id: tutorial-visits
    name: Tutorial visits
    service_provider: duckdb
    config:
      database: {file}
""",
    )
    terminal.run("validate", "warehouse.yaml")
    terminal.run("apply", "warehouse.yaml", "--yes")
    terminal.run("test", "--feed", "tutorial-events")
    terminal.run("test", "tutorial-visits")
    session.step("4 to 6 Create data model and data mapping, set sync settings", "Another file, in the same way.")
    terminal.write(
        "visits.yaml",
        """data_models:
  - id: tutorial-visits
    name: Tutorial visits
    sql_query: SELECT customer_id, page, visited_at FROM visits ORDER BY customer_id
field_transformations:
  - id: tutorial-visits
    name: Tutorial visits
    destination_type: event_batch
    mappings:
      - {mapping_type: static, destination: events.event_type, value: custom_event}
      - {mapping_type: static, destination: events.data.event_name, value: visit}
      - {mapping_type: static, destination: events.data.custom_event_type, value: navigation}
      - {mapping_type: column, source: customer_id, destination: user_identities.customer_id}
      - {mapping_type: column, source: page, destination: events.data.custom_attributes.page}
      - {mapping_type: column, source: visited_at, destination: events.data.timestamp_unixtime_ms}
pipelines:
  - id: tutorial-visits
    name: Tutorial visits
    connection_id: tutorial-visits
    data_model_id: tutorial-visits
    field_transformation_id: tutorial-visits
    feed_id: tutorial-events
    environment: development
    sync_mode: {type: incremental, iterator_field: visited_at, iterator_data_type: timestamp}
    schedule: {type: on_demand, delay: 0s}
""",
    )
    terminal.run("diff", "visits.yaml")
    terminal.run("apply", "visits.yaml", "--yes")
    terminal.run("columns", "tutorial-visits")
    before = deployment.counters()
    session.step("7 Review", "What it would do. Only what `--send` sends is sent, to development.")
    terminal.run("review", "tutorial-visits", "--rows", "2")
    assert deployment.counters() == before, "a review sends nothing"
    terminal.run("preview", "tutorial-visits", "--send", "1", "--yes")
    terminal.run("activate", "tutorial-visits")
    session.step("Manage a sync", "Run it, look at it, pause and resume it.")
    terminal.run("trigger", "tutorial-visits", "--wait")
    terminal.run("runs", "tutorial-visits")
    terminal.run("status", "tutorial-visits")
    terminal.run("pause", "tutorial-visits")
    terminal.run("resume", "tutorial-visits")
    session.check("setup-by-commands.md")
