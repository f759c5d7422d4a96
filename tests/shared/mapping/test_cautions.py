"""What an operator is told about a plan that is allowed."""

import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.feed import ProtectionLevel
from shared.mapping.cautions import cautions_of
from shared.mapping.compile import compile_user_mapping
from tests.shared.mapping.events import SESSION_START, Mapped, compiled

AT = ("at", pa.timestamp("us", "UTC"))
TIMED: Mapped = {"at": "events.data.timestamp_unixtime_ms", **SESSION_START}


def test_events_with_a_time_need_no_caution() -> None:
    assert cautions_of(compiled([AT], TIMED), protection=ProtectionLevel.CREATE_AND_UPDATE) == ()


def test_users_need_none() -> None:
    plan = compile_user_mapping(
        pa.schema([("email", pa.string())]), environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None
    )
    assert cautions_of(plan, protection=ProtectionLevel.UPDATE_ONLY) == ()


@pytest.mark.parametrize(
    ("mappings", "protection", "said"),
    [
        ({}, ProtectionLevel.CREATE_AND_UPDATE, "events.data.timestamp_unixtime_ms is not mapped"),
        ({"x": "events.data.event_id"}, ProtectionLevel.CREATE_AND_UPDATE, "events.data.source_message_id is kept"),
        ({"x": "events.data.session_id"}, ProtectionLevel.CREATE_AND_UPDATE, "events.data.session_uuid is kept"),
        ({"x": "user_attributes.x"}, ProtectionLevel.READ_ONLY, "its batches change no profile"),
    ],
)
def test_what_may_not_be_expected_is_said(mappings: Mapped, protection: ProtectionLevel, said: str) -> None:
    columns = [("x", pa.int64()), AT]
    used = {"x": None, **(TIMED if mappings else {"at": None, **SESSION_START}), **mappings}
    (caution,) = cautions_of(compiled(columns, used), protection=protection)
    assert said in caution


def test_consent_is_not_for_every_key() -> None:
    plan = compiled(
        [AT, ("agreed", pa.bool_())],
        {
            "agreed": "consent_state.gdpr.marketing.consented",
            "at": "consent_state.gdpr.marketing.timestamp_unixtime_ms",
            **SESSION_START,
        },
    )
    consent, _ = cautions_of(plan, protection=ProtectionLevel.CREATE_AND_UPDATE)
    assert "with a partner feed's key it stays as it is" in consent
