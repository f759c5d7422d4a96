"""How many questions to workers a server has under way at once: fewer than it has threads to answer requests with."""

import threading
from collections.abc import Iterator
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request

from console.api.signed_in import identity
from shared.access import Identity
from shared.errors import TooManyQuestions

MOST: Final = 12
"""Questions, reviews and doctors; a server has 40 threads, and each of these holds one for up to half a minute."""


def install(app: FastAPI) -> None:
    """Give an app its places for questions."""
    app.state.places = threading.BoundedSemaphore(MOST)


def _place(request: Request, _: Annotated[Identity, Depends(identity)]) -> Iterator[None]:
    """Hold a place while a request waits for workers; nobody gets one who is not signed in.

    Raises:
        TooManyQuestions: all are taken.
    """
    places: threading.BoundedSemaphore = request.app.state.places
    if not places.acquire(blocking=False):
        raise TooManyQuestions(
            f"{MOST} questions to workers are under way on this server, which is all that it asks at once; ask again "
            "in a few seconds"
        )
    try:
        yield
    finally:
        places.release()


asking: Final = Depends(_place)
"""A route's dependency where it waits for workers."""
