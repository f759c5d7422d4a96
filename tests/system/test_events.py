"""Event pipelines through the whole path: events share batches, arrive once though workers die, and age decides."""

import os
import random
import signal
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from shared import catalog
from shared.ledger import Ledger
from shared.run import RunState
from shared.schedule import OnDemand
from shared.store.edits import Watermark
from shared.store.tables import chunks
from shared.transformation import FieldMapping, FieldTransformation, MappingType
from tests.system.people import INCREMENTAL, People

QUERY: Final = "SELECT who, what, happened_at, amount, changed_at FROM events"
EVENTS: Final = FieldTransformation(
    id="clicks",
    name="Clicks",
    mappings=(
        FieldMapping(mapping_type=MappingType.COLUMN, source="who", destination="user_identities.customer_id"),
        FieldMapping(mapping_type=MappingType.COLUMN, source="what", destination="events.data.event_name"),
        FieldMapping(
            mapping_type=MappingType.COLUMN, source="happened_at", destination="events.data.timestamp_unixtime_ms"
        ),
        FieldMapping(
            mapping_type=MappingType.COLUMN, source="amount", destination="events.data.custom_attributes.amount"
        ),
        FieldMapping(mapping_type=MappingType.STATIC, value="custom_event", destination="events.event_type"),
        FieldMapping(mapping_type=MappingType.STATIC, value="other", destination="events.data.custom_event_type"),
    ),
)


def declare(people: People, **options: object) -> None:
    """Declare an event pipeline over the people's file, and begin it."""
    people.declare(query="SELECT 1 AS email")
    operations = people.deployment.operations
    operations.declare(EVENTS)
    operations.declare(catalog.DataModel(id=people.id, name=people.id, sql_query=QUERY), Watermark.KEEP)
    operations.declare(
        catalog.Pipeline.model_validate(
            {
                "id": people.id,
                "name": people.id,
                "connection_id": people.id,
                "data_model_id": people.id,
                "feed_id": "sandbox",
                "field_transformation_id": EVENTS.id,
                "environment": "development",
                "sync_mode": INCREMENTAL,
                "schedule": OnDemand(delay=timedelta(0)),
                **options,
            }
        ),
        Watermark.KEEP,
    )


def add(people: People, count: int, *, users: int, at: datetime) -> None:
    """Add events of some users, who take turns."""
    moment = at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    people.write(
        f"""
        CREATE TABLE IF NOT EXISTS events (
            who VARCHAR, what VARCHAR, happened_at TIMESTAMP, amount DECIMAL(9, 2), changed_at TIMESTAMP
        );
        INSERT INTO events
        SELECT '{people.id}-' || i % {users}, 'click', TIMESTAMP '{moment}', i / 4, TIMESTAMP '{moment}'
        FROM range({count}) t(i)
        """
    )


@pytest.mark.parametrize("seed", range(6))
def test_events_share_batches_and_arrive_once_though_an_upload_worker_is_killed(people: People, seed: int) -> None:
    moment = random.Random(seed)
    declare(people)
    add(people, 600, users=25, at=datetime.now(UTC) - timedelta(hours=1))
    people.deployment.turn_faults(delay_s=0.2)
    before = people.deployment.counters()
    run_id = people.trigger()
    claim = people.deployment.stopped_claimant(run_id, chunks, moment, within_s=0.15)
    os.kill(claim.pid, signal.SIGKILL)
    run = people.expect(run_id, RunState.SETTLED)
    after = people.deployment.counters()
    grown = {name: after[name] - before[name] for name in ("batches", "profiles", "conflicts", "dropped")}
    assert run.ledger == Ledger(extracted=600, accepted=600)
    # Chunks of 100 rows have each of the 25 users in them.
    assert grown == {"batches": run.batches, "profiles": 25, "conflicts": 0, "dropped": 0}
    assert run.batches == 6 * 25


def test_events_have_batches_of_their_own_where_that_is_declared(people: People) -> None:
    declare(people, merge=False)
    add(people, 60, users=5, at=datetime.now(UTC) - timedelta(hours=1))
    run = people.settle()
    assert (run.ledger, run.batches) == (Ledger(extracted=60, accepted=60), 60)


def test_old_events_go_to_the_historical_endpoint_and_new_ones_do_not(people: People) -> None:
    declare(people)
    now = datetime.now(UTC)
    add(people, 40, users=4, at=now - timedelta(days=31))
    add(people, 40, users=4, at=now - timedelta(days=29))
    before = people.deployment.counters()
    run = people.settle()
    after = people.deployment.counters()
    assert (run.ledger, run.batches) == (Ledger(extracted=80, accepted=80), 8)
    assert after["historical"] - before["historical"] == 4
    assert after["dropped"] == before["dropped"]


def test_old_events_go_the_usual_way_where_that_is_declared(people: People) -> None:
    declare(people, historical="never")
    add(people, 20, users=2, at=datetime.now(UTC) - timedelta(days=90))
    before = people.deployment.counters()
    assert people.settle().batches == 2
    assert people.deployment.counters()["historical"] == before["historical"]


def test_rows_of_a_user_are_merged_field_by_field(people: People) -> None:
    people.declare()
    people.add(3, changed_at=datetime.now(UTC) - timedelta(hours=2))
    people.write(
        "INSERT INTO people SELECT customer_id, email, NULL, score + 1, changed_at + INTERVAL 1 HOUR FROM people"
        " WHERE customer_id LIKE '%-0'"
    )
    run = people.settle()
    assert (run.ledger, run.batches) == (Ledger(extracted=4, accepted=4), 3)
    attributes = people.profile(0)["user_attributes"]
    assert (attributes["firstname"], attributes["score"]) == ("Zoë planted.example", 1.0)
