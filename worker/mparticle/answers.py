"""What mParticle can answer to one body, and how its answer is read.

A closed union: whoever sends a body decides what each answer means for its batches, and a ``match`` over
:data:`Answer` ends in ``assert_never``. Everything here is text from outside, so it is bounded and made printable.

Source: mParticle HTTP API, "Responses" and "Rate limits" (docs.mparticle.com/developers/apis/http).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from worker.mparticle.redaction import on_one_line

MESSAGE_CHARS: Final = 300
"""How much of mParticle's own words is kept: enough for a sentence or two, and never a whole page of a proxy's."""

_ID_CHARS: Final = 40
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_SAYS_LATER: Final = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class Accepted:
    """202: taken for processing.

    ``percentage_used`` is how much of the account's quota is spent, in percent, where mParticle says so.
    """

    percentage_used: float | None = None


@dataclass(frozen=True, slots=True)
class BatchesRefused:
    """400: at least one batch of the body is bad, and none of it was taken.

    ``message`` is mParticle's own, of at most :data:`MESSAGE_CHARS` characters. It may quote what the batch held, so
    it goes no further than ``worker.mparticle.redaction``.
    """

    message: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """413: more bytes than mParticle takes in one request."""


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """401 or 403: the key or its secret is wrong."""

    status: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: a limit of the account is exceeded.

    ``retry_after_s`` is mParticle's own figure, None where it gave none above zero; ``exceeded`` names the limit
    (``org``, ``account``, ``acceleration`` ...).
    """

    retry_after_s: float | None = None
    exceeded: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No answer, or one that says "later"; whether the body was taken is unknown."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotTheApi:
    """A status that the Events API never gives: the feed's address is wrong, or something stands in between.

    Neither acceptance nor trouble that passes, so asking again for ever would hide it. Among them are 3xx, because
    following a redirect would hand the secret to another address; 404; and each 2xx but 202, because rows that a
    stranger's server answered 200 to are not delivered.
    """

    status: int
    message: str


Answer = Accepted | BatchesRefused | TooLarge | SignInRefused | Throttled | Unavailable | NotTheApi


def read_answer(status: int, headers: Mapping[str, str], text: bytes) -> Answer:
    """Read one answer; ``headers`` ignores case, ``text`` is the beginning of its body."""
    match status:
        case 202:
            return Accepted(_percentage(headers.get("X-mp-rate-limit-percentage-used")))
        case 400:
            return BatchesRefused(_message(text) or "no reason given")
        case 413:
            return TooLarge()
        case 401 | 403:
            return SignInRefused(status)
        case 429:
            # mParticle's page on limits spells the header in both ways.
            asked = headers.get("Retry-After") or headers.get("RetryAfter")
            return Throttled(_seconds(asked), _limit(headers.get("X-mp-rate-limit-exceeded")))
        case _ if status >= 500 or status in _SAYS_LATER:  # noqa: PLR2004 - HTTP's own class of server errors
            return Unavailable(f"mParticle answered HTTP {status}")
        case _:
            return NotTheApi(status, _message(text))


def _message(text: bytes) -> str:
    """MParticle's sentences out of its error object, else whatever text came, bounded and on one line."""
    words = text.decode("utf-8", "replace")
    try:
        errors = orjson.loads(text)["errors"]
        words = "; ".join(str(error["message"]) for error in errors) or words
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass  # not mParticle's shape; the text itself is the best there is
    line = on_one_line(words)
    return line if len(line) <= MESSAGE_CHARS else line[: MESSAGE_CHARS - 1] + "…"


def _percentage(header: str | None) -> float | None:
    try:
        percentage = float(header) if header else math.nan
    except ValueError:
        return None
    return percentage if math.isfinite(percentage) else None


def _seconds(header: str | None) -> float | None:
    """Seconds to wait; zero is read as not said, since obeying it would earn the next 429 at once."""
    return (float(header) or None) if header and _SECONDS.fullmatch(header.strip()) else None


def _limit(header: str | None) -> str | None:
    return (header.strip(' "')[:_ID_CHARS] or None) if header else None
