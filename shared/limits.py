"""What becomes of rows beyond mParticle's documented limits, by a pipeline's own setting.

mParticle does not say for most of its limits what it does beyond them, and a request that breaks one may fail. So each
limit is checked before anything is sent, and a setting says what then: the row is rejected, the value cut to the limit,
or sent as it is and counted.

Source: mParticle, "Default service limits".
"""

from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from pydantic import Field, field_validator

from shared.fields import Declared

NAME_MAX_CHARS: Final = 256
"""Of an event, a screen or an attribute."""
MOST_EVENT_NAMES: Final = 1000
"""Distinct names of events and screens in one workspace."""


class EventName(NamedTuple):
    """A name of events of one type; a screen and a custom event of one name are two."""

    kind: str
    name: str


class Beyond(StrEnum):
    """What becomes of a row beyond a limit."""

    REJECT = "reject"
    TRUNCATE = "truncate"
    WARN = "warn"


class Limits(Declared):
    """One setting for each limit.

    Names are cut as mParticle cuts them, so that what is counted here is what arrives. Everything else is rejected: a
    cut value is another value, and only its owner knows whether that is better than none. Names beyond the thousand
    are only counted, because dropping a new event is the loss that the limit itself threatens.
    """

    event_name: Beyond = Field(Beyond.TRUNCATE, description="names of events and screens of more than 256 characters")
    event_attribute_name: Beyond = Field(Beyond.TRUNCATE, description="of more than 256 characters")
    user_attribute_name: Beyond = Field(Beyond.TRUNCATE, description="of more than 256 characters")
    attribute_value: Beyond = Field(Beyond.REJECT, description="texts of more than 4096 characters")
    list_entries: Beyond = Field(Beyond.REJECT, description="lists of more than 1000 entries")
    list_entry: Beyond = Field(Beyond.REJECT, description="texts of more than 512 characters in a list")
    user_attributes: Beyond = Field(Beyond.REJECT, description="more than 100 attributes of one user")
    distinct_names: Beyond = Field(Beyond.WARN, description="names of events and screens beyond a workspace's 1000th")

    @field_validator("distinct_names")
    @classmethod
    def _a_name_is_new_or_not(cls, beyond: Beyond) -> Beyond:
        if beyond is Beyond.TRUNCATE:
            raise ValueError("a name beyond the 1000th cannot be cut to one before it; expected reject or warn")
        return beyond

    @classmethod
    def before_there_were_any(cls) -> Self:
        """Give what runs did before there were settings: names went out as they were."""
        names = ("event_name", "event_attribute_name", "user_attribute_name")
        as_they_were: dict[str, Any] = dict.fromkeys(names, Beyond.WARN)
        return cls(**as_they_were)
