"""Long lists a page at a time: newest first, and the next page's address in a ``Link`` header (RFC 8288).

The address holds the query alone, so that it is right behind any proxy: ``</…>`` would name the proxy's other side.
What says where a page ended is opaque to callers, and a place in the order and not a count: what is added meanwhile
moves nobody's pages.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from console.shapes.requests import MOST
from shared.errors import DeclarationInvalid

Item = TypeVar("Item")
Place = tuple[str | int, ...]
"""Where an item stands in the order of its list, such as when it was made and its id."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="items of a page")]
After = Annotated[str | None, Query(description="where the page before ended; its Link header says it")]

DEFAULT: Final = 50


@dataclass(frozen=True, slots=True)
class Pages:
    """The page that a request asks for, and the answer that it goes into."""

    request: Request
    response: Response
    limit: Limit = DEFAULT
    after: After = None

    def behind(self, *kinds: type[str | int]) -> Place | None:
        """Give where the page begins; errors as of ``read``."""
        return read(self.after, *kinds)

    def one(self, found: Sequence[Item], place: Callable[[Item], Place]) -> list[Item]:
        """Give the page of what was found, see ``page``."""
        return page(self.request, self.response, found, self.limit, place)


Paged = Annotated[Pages, Depends()]


def page(
    request: Request, response: Response, found: Sequence[Item], limit: int, place: Callable[[Item], Place]
) -> list[Item]:
    """Give one page of what was found, and say in the answer's header where the next one is.

    ``found`` holds one more than ``limit`` where there is a next page: whoever looks for them asks for one too many.
    """
    shown = list(found[:limit])
    if len(found) > limit:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        told = urlencode([*query, ("after", written(place(shown[-1])))])
        response.headers["Link"] = f'<?{told}>; rel="next"'
    return shown


def written(place: Place) -> str:
    """Give a place as the text that ``read`` takes."""
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).rstrip(b"=").decode()


def read(after: str | None, *kinds: type[str | int]) -> Place | None:
    """Give the place that a page begins behind, of parts of these kinds; ``None`` for the first page.

    Raises:
        DeclarationInvalid: it is not one that an answer of ours named.
    """
    if after is None:
        return None
    try:
        found = json.loads(urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    except (ValueError, RecursionError):  # No base64, no UTF-8, no JSON, or lists in lists without end.
        found = None
    if not isinstance(found, list) or [type(part) for part in found] != list(kinds):
        raise no_place()
    return tuple(found)


def no_place() -> DeclarationInvalid:
    """Give what is wrong with an ``after`` that no answer of ours named."""
    return DeclarationInvalid("after: expected what the Link header of the page before says, or nothing")
