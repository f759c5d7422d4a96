"""The users that a sample's batches make."""

from datetime import UTC, datetime
from typing import Any

from console.sampled import note_on, profiles_of
from shared.feed import ProtectionLevel
from shared.rejects import MASK

LEVEL = ProtectionLevel.CREATE_AND_UPDATE


def batch(attributes: dict[str, Any] | None = None, **identities: str) -> dict[str, Any]:
    return {"user_identities": identities, "user_attributes": attributes or {}}


def test_batches_of_one_user_become_one_profile_and_the_last_wins() -> None:
    batches = [
        batch({"age": 1, "city": "Rome"}, customer_id="a"),
        batch(customer_id="b"),
        batch({"age": 2}, customer_id="a", email="a@example.com"),
    ]
    one, other = profiles_of(batches, protection=LEVEL, historical_before=None)
    assert one.identities == {"customer_id": "a", "email": "a@example.com"}
    assert (one.user_attributes, one.batches) == ({"age": 2, "city": "Rome"}, 2)
    assert (other.identities, other.batches) == ({"customer_id": "b"}, 1)


def test_masked_identities_tell_nobody_apart_and_stay_masked() -> None:
    batches: list[dict[str, Any]] = [
        batch({"n": 1}, customer_id=MASK),
        batch({"n": 2}, customer_id=MASK),
        {"mpid": MASK, "mp_deviceid": MASK, "device_info": {"android_uuid": MASK}},
    ]
    found = profiles_of(batches, protection=LEVEL, historical_before=None)
    assert [one.identities for one in found] == [
        {"customer_id": MASK},
        {"customer_id": MASK},
        {"mpid": MASK, "mp_deviceid": MASK, "android_uuid": MASK},
    ]
    assert [one.user_attributes for one in found] == [{"n": 1}, {"n": 2}, {}]


def test_historical_batches_change_no_profile() -> None:
    before = datetime(2026, 1, 1, tzinfo=UTC)
    ms = int(before.timestamp() * 1000)
    old, young = (
        {**batch(customer_id=name), "events": [{"event_type": "custom_event", "data": {"timestamp_unixtime_ms": at}}]}
        for name, at in (("old", ms - 1), ("young", ms))
    )
    (only,) = profiles_of([old, young], protection=LEVEL, historical_before=before)
    assert only.identities == {"customer_id": "young"}
    assert len(profiles_of([old, young], protection=LEVEL, historical_before=None)) == 2


def test_a_feed_that_may_change_no_profile_makes_none() -> None:
    level = ProtectionLevel.READ_ONLY
    assert profiles_of([batch(customer_id="a")], protection=level, historical_before=None) == ()
    assert "read_only" in note_on(level)
    assert "knows already" in note_on(ProtectionLevel.UPDATE_ONLY)
