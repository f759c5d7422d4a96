"""Whoever cannot reach the state database is told of the broker in the same breath."""

import pytest

from sandbox.ports import free_port
from sandbox.services import Services
from shared.errors import MoveNotAllowed, StoreUnavailable
from shared.outage import naming_both
from shared.settings import Settings


def where(**given: str) -> Settings:
    return Settings.model_validate(given)


def fail_in(settings: Settings) -> str:
    with pytest.raises(StoreUnavailable) as raised, naming_both(settings):
        raise StoreUnavailable("the state database does not answer")
    return str(raised.value)


def test_both_are_named_the_database_first_where_neither_answers() -> None:
    said = fail_in(where(broker_url=f"redis://:hunter2@127.0.0.1:{free_port()}/0"))
    assert said.startswith("the state database does not answer. Besides, the broker at redis://")
    assert "WAREHOUSE_SYNC_BROKER_URL is right" in said
    assert "hunter2" not in said


def test_a_broker_that_answers_is_not_named(services: Services) -> None:
    assert fail_in(where(broker_url=services.broker_url)) == "the state database does not answer"


def test_what_else_goes_wrong_stays_as_it_is() -> None:
    with pytest.raises(MoveNotAllowed, match="it stays"), naming_both(where(broker_url="redis://127.0.0.1:1/0")):
        raise MoveNotAllowed("it stays")
