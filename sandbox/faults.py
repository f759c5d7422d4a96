"""What the stand-in does wrong on demand.

Faults of the line strike a request whatever it holds: an answer other than 202, a delay, a cut connection, no answer at
all. Faults of the content answer 400 for what the real service would take silently, and take nothing of the body.
"""

from asyncio import Event
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Marked(BaseModel):
    """The user attribute by which a batch is to be refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str
    value: str | int | float | bool | None


class Faults(BaseModel):
    """Which faults are on; without any, the stand-in behaves."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    status: HTTPStatus | None = Field(None, description="answer this; nothing of the body is taken", ge=400)
    retry_after_s: Annotated[int, Field(ge=0)] | None = Field(None, description="the header beside such a status")
    limit_exceeded: Literal["org", "account", "app", "feed", "workspace", "acceleration", "system"] = Field(
        "account", description="the limit that a status of 429 names"
    )
    delay_s: Annotated[float, Field(ge=0)] = Field(0, description="answer this late; the body is judged at once")
    hang: bool = Field(default=False, description="take nothing and do not answer until the faults change")
    share: Share = Field(1, description="the share of the requests that status, delay_s and hang strike")
    drop_before: Share = Field(0, description="the share of the requests whose connection is cut with nothing taken")
    drop_after: Share = Field(0, description="the share whose connection is cut after the batches were taken")
    next_requests: Annotated[int, Field(ge=1)] | None = Field(
        None, alias="next", description="after this many requests were struck by any of the above, none is"
    )
    omit_retry_after: bool = Field(default=False, description="leave Retry-After out where a rate limit is exceeded")
    strict: bool = Field(default=False, description="answer 400 for a body with a bad batch, instead of dropping it")
    reject_marked: Marked | None = Field(None, description="answer 400 for a body with a batch so marked")
    reject_all: bool = Field(default=False, description="answer 400 for every body")
    seed: int | None = Field(None, description="which requests a share means; unset: the stand-in's own seed")


@dataclass(frozen=True, slots=True)
class Strike:
    """What the faults of the line do to one request."""

    status: HTTPStatus | None = None
    delay_s: float = 0
    hang: bool = False
    drop_before: bool = False
    drop_after: bool = False


_NOTHING: Final = Strike()


class FaultSwitch:
    """The faults that are on now, and whom they strike: the same requests, by order of arrival, for the same seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._changed = Event()
        self.turn(Faults())

    def turn(self, faults: Faults) -> None:
        """Replace all faults; what was random begins anew."""
        self.faults = faults
        self.struck = 0
        self._random = Random(self._seed if faults.seed is None else faults.seed)  # noqa: S311 - repeatable, not secret
        self.release()

    async def wait_for_change(self) -> None:
        """Return when the faults are next replaced, or whoever hangs is released."""
        await self._changed.wait()

    def release(self) -> None:
        """Wake everyone who waits for a change."""
        self._changed.set()
        self._changed = Event()

    def strike(self) -> Strike:
        """Decide what happens to the request that has just arrived."""
        faults = self.faults
        if faults.next_requests is not None and self.struck >= faults.next_requests:
            return _NOTHING
        # Always three draws, so that changing one share moves no other fault to another request.
        in_share, before, after = (self._random.random() for _ in range(3))
        is_in_share = in_share < faults.share
        strike = Strike(
            status=faults.status if is_in_share else None,
            delay_s=faults.delay_s if is_in_share else 0,
            hang=faults.hang and is_in_share,
            drop_before=before < faults.drop_before,
            drop_after=after < faults.drop_after,
        )
        if strike == _NOTHING:
            return _NOTHING
        self.struck += 1
        return strike

    def as_json(self) -> dict[str, Any]:
        """Give the faults that are on, and how many requests they have struck."""
        return {**self.faults.model_dump(mode="json", by_alias=True, exclude_defaults=True), "struck": self.struck}
