"""How much of what is costly a server has under way at once: less than it has threads to answer requests with."""

import threading
from collections.abc import Iterator
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request

from console.api.signed_in import identity
from shared.access import Identity
from shared.errors import ServerBusy, SyncError, TooManyQuestions

MOST_QUESTIONS: Final = 12
"""Questions, reviews and doctors; a server has 40 threads, and each of these holds one for up to half a minute."""
MOST_DOWNLOADS: Final = 4
"""Each holds a file of rows in memory while it is written, and all of its rows on disk until the last byte is sent."""


def install(app: FastAPI) -> None:
    """Give an app its places."""
    app.state.questions = threading.BoundedSemaphore(MOST_QUESTIONS)
    app.state.downloads = threading.BoundedSemaphore(MOST_DOWNLOADS)


def _question(request: Request, _: Annotated[Identity, Depends(identity)]) -> Iterator[None]:
    """Hold a place while a request waits for workers; nobody gets one who is not signed in."""
    yield from _held(
        request.app.state.questions,
        TooManyQuestions(
            f"{MOST_QUESTIONS} questions to workers are under way on this server, which is all that it asks at once; "
            "ask again in a few seconds"
        ),
    )


def _download(request: Request, _: Annotated[Identity, Depends(identity)]) -> Iterator[None]:
    """Hold a place until a file is made and sent; nobody gets one who is not signed in."""
    yield from _held(
        request.app.state.downloads,
        ServerBusy(
            f"{MOST_DOWNLOADS} downloads are under way on this server, which is all that it sends at once; ask again "
            "when one has ended"
        ),
    )


def _held(places: threading.BoundedSemaphore, refusal: SyncError) -> Iterator[None]:
    """Hold one of some places, or raise the refusal where all are taken."""
    if not places.acquire(blocking=False):
        raise refusal
    try:
        yield
    finally:
        places.release()


asking: Final = Depends(_question)
"""A route's dependency where it waits for workers."""
downloading: Final = Depends(_download)
"""A route's dependency where it sends a file of any size."""
