"""Kinds of field that declarations share: names, ids, references to secrets."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from unicodedata import category
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
)

Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Name = Annotated[str, Field(min_length=1, max_length=256)]
GIVEN: Final = "given"
"""The context to validate in where somebody gives a text now. What is stored was judged when it was given: it is read
without, so that a rule of today makes nothing unreadable."""


def _can_be_told_apart(name: str, info: ValidationInfo) -> str:
    """Refuse a name that looks like another one, or like none, once it stands in a list or in a log line."""
    is_seen = any(not one.isspace() and category(one) != "Cf" for one in name)
    breaks = any(category(one) in {"Cc", "Zl", "Zp"} for one in name)
    if info.context == GIVEN and (name != name.strip() or breaks or not is_seen):
        raise ValueError("expected a name that is seen, without blanks at its ends, line breaks or control characters")
    return name


Title = Annotated[
    Name,
    AfterValidator(_can_be_told_apart),
    Field(description="what people call it; without blanks at its ends, line breaks or control characters"),
]
"""The name of what is declared; unique within its kind."""
LONGEST_REFERENCE: Final = 32_768
"""Characters: room for a sealed secret of the longest kind, a private key of 16 KiB."""
SecretReference = Annotated[
    str,
    Field(
        pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|sealed:[0-9a-f]{16}:[A-Za-z0-9+/]{64,}={0,2})$",
        max_length=LONGEST_REFERENCE,
        description="env:NAME, file:/absolute/path or sealed:KEYID:TEXT",
    ),
]
WEB_ADDRESS: Final = r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
"""Nothing that two readers of an address could take for different hosts."""

_DURATION: Final = (
    r"^([0-9]{1,9}[smhd]|\+?P[0-9A-Z.,]+|([0-9]+ ?(d|days?),? ?)?[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?|[0-9.]+)$"
)
_SPANS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(declared: Any, validate: Callable[[Any], timedelta]) -> timedelta:
    short = re.fullmatch(r"([0-9]{1,9})([smhd])", declared) if isinstance(declared, str) else None
    try:
        found = validate(timedelta(**{_SPANS[short[2]]: int(short[1])}) if short else declared)
    except ValidationError:
        found = None
    if found is None or found < timedelta(0):
        raise ValueError(f"expected a duration of zero or more, such as 5m, 90s, 1h, 1d or PT5M, got {declared!r}")
    return found


Duration = Annotated[
    timedelta,
    WrapValidator(_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _DURATION}, {"type": "number", "minimum": 0}]}),
]
"""How long: ``90s``, ``15m``, ``1h``, ``2d``, ISO 8601 (``PT1H``), ``01:30:00``, or a number of seconds."""


def _exists_in_utc(instant: datetime) -> datetime:
    try:
        instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected an instant of the years 1 to 9999, also in UTC") from None
    return instant


Moment = Annotated[AwareDatetime, AfterValidator(_exists_in_utc)]
"""An instant as it was given; in UTC it is not before the first day that Python knows, nor after the last."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not an IANA zone name such as Europe/Berlin") from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


def brief(reference: str) -> str:
    """Give a secret reference as messages show it: a sealed one without its long text."""
    scheme, _, rest = reference.partition(":")
    return f"sealed:{rest.partition(':')[0]}:..." if scheme == "sealed" else reference


class Declared(BaseModel):
    """What an operator declares: frozen, and a misspelt field is an error, which does not repeat what was given."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        validate_by_name=True,
        hide_input_in_errors=True,  # Somebody may have put a secret where a reference belongs.
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, brief(value) if isinstance(value, str) and value.startswith("sealed:") else value
