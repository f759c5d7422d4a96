"""Find out whether a feed signs in, with the most harmless body that there is: an array of no batches.

It holds nothing that could create or change anything, counts nothing against a quota of batches, and is JSON as the
Events API asks for. Whether mParticle looks at the key before the body is not documented, so only what it documents is
concluded: 202 says that the body was taken from this input, 401 and 403 that it was not signed in.

Source: mParticle HTTP API, "Authentication" and "Responses".
"""

from typing import Final, assert_never

from shared.errors import FeedRefused, FeedSignInRefused, FeedUnavailable
from shared.probe import Answer, FeedAnswer
from worker.mparticle.answers import (
    Accepted,
    BatchesRefused,
    NotTheApi,
    SignInRefused,
    Throttled,
    TooLarge,
    Unavailable,
)
from worker.mparticle.client import FeedClient

NO_BATCHES: Final = b"[]"
_UNKNOWN: Final = (
    "no answer tells the input's protection level, its workspace and its quota, or whether mParticle takes batches of "
    "this kind from it; `send` shows the last"
)


async def check(feed: FeedClient) -> Answer:
    """Send an array of no batches and say what its answer tells.

    Raises:
        FeedSignInRefused: the feed refused the sign-in.
        FeedUnavailable: it cannot be reached, or says to come back later.
        FeedRefused: what answers is not the Events API.
    """
    answer = await feed.send(NO_BATCHES)
    match answer:
        case Accepted():
            return _found(feed, "it took an empty body from this key", signed_in=True)
        case BatchesRefused():
            # Not said to come after the sign-in, and its words are about a body that nobody wants to send.
            return _found(feed, "it answers (HTTP 400 to an empty body) and did not refuse the key", signed_in=None)
        case Throttled():
            return _found(
                feed, "it answers, and the account's quota is exceeded at the moment (HTTP 429)", signed_in=None
            )
        case SignInRefused(status):
            raise FeedSignInRefused(
                f"mParticle at {feed.host} refused the sign-in of feed {feed.name!r} (HTTP {status}); check api_key "
                "and the secret that api_secret refers to"
            )
        case Unavailable(reason):
            raise FeedUnavailable(
                f"the feed at {feed.host} cannot be tested now: {reason}; check base_url, or ask again"
            )
        case TooLarge():
            raise _stranger(feed, 413)
        case NotTheApi(status):
            raise _stranger(feed, status)
        case _:
            assert_never(answer)


def _found(feed: FeedClient, found: str, *, signed_in: bool | None) -> Answer:
    return Answer(feed=FeedAnswer(host=feed.host, signed_in=signed_in, found=found, unknown=_UNKNOWN))


def _stranger(feed: FeedClient, status: int) -> FeedRefused:
    cure = "gzip: false on the feed may help" if feed.is_gzip else "check the feed's base_url"
    return FeedRefused(
        f"{feed.host} answered HTTP {status} to an empty body, where mParticle's Events API answers 202; {cure}"
    )
