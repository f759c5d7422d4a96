"""Which API the commands talk to: a server's, or the one in this process."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Place:
    """A server's API and how to sign in there, or the one in this process where ``url`` is ``None``."""

    url: str | None
    token: str | None
    workspace: str | None


_HERE: Final = Place(None, None, None)
_place: Final[ContextVar[Place]] = ContextVar("place")


def talk_to(place: Place) -> None:
    """Have the command talk to this API."""
    _place.set(place)


def place() -> Place:
    """Give the API that the command was told of; without a word the one in this process."""
    return _place.get(_HERE)


def is_here() -> bool:
    """Say whether the API is in this process, and no server's."""
    return place().url is None
