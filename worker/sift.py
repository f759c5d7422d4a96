"""From a body to what became of each of its batches: bad batches are found one by one, good ones are kept.

mParticle refuses a body whole and does not say which batch it means, so a refused body is taken apart until what is
refused is a single batch. Each part is sent with the ids it always had. Since the account's quota counts the batches
of every try, as few as possible are sent: what must hold a bad batch is halved without asking.

Where a mapping is wrong every batch is bad, and finding that out by halves would cost several times the body. So a
refused body first has single batches tried, spread over it, until one proves good. Usually that is the first.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from shared.errors import FeedRefused
from shared.run import Reject, RejectCode
from worker.frontier import Frontier
from worker.mparticle.answers import Accepted, BatchesRefused, TooLarge
from worker.mparticle.bodies import Body, split

Verdict = Accepted | BatchesRefused | TooLarge
"""What mParticle says about the content of a body."""

PROOFS: Final = 20
"""So many batches of one body refused one by one, and none accepted: the mapping is wrong, not the rows.

The batches are spread evenly, so that a run of bad rows side by side does not look like a wrong mapping: where a tenth
of a body's rows are good, twenty independent tries would miss them in one of eight bodies; where a quarter are, in one
of three hundred.
"""


async def sift(body: Body, deliver: Callable[[Body], Awaitable[Verdict]], frontier: Frontier) -> None:
    """Send a body and settle each of its batches.

    Args:
        body: What to send.
        deliver: Sends a part of it until mParticle has something to say about its content.
        frontier: Told each outcome as soon as it is certain.

    Raises:
        FeedRefused: no batch of the body is good; those found bad are not settled, since the mapping is at fault.
    """
    await _Sieve(deliver, frontier).settle(body)


class _Sieve:
    """One body being settled."""

    def __init__(self, deliver: Callable[[Body], Awaitable[Verdict]], frontier: Frontier) -> None:
        self._deliver = deliver
        self._frontier = frontier
        self._has_good = False

    async def settle(self, body: Body) -> bool:
        """Send a part and settle its batches; True if it was accepted whole."""
        verdict = await self._deliver(body)
        size = len(body)
        match verdict:
            case Accepted():
                self._frontier.accept(body.first, body.end)
                self._has_good = True
                return True
            case BatchesRefused() | TooLarge() if size == 1:
                self._frontier.refuse(body.first, self._reject(body.first, verdict))
            case BatchesRefused():
                if size < PROOFS or self._has_good:
                    await self._halve(body, holds_bad=True)
                else:
                    await self._sample(body)
            case TooLarge():
                await self._halve(body, holds_bad=False)
        return False

    async def _halve(self, body: Body, *, holds_bad: bool) -> None:
        left, right = split(body)
        left_is_good = await self.settle(left)
        if holds_bad and left_is_good and len(right) > 1:
            await self._halve(right, holds_bad=True)
        else:
            await self.settle(right)

    async def _sample(self, refused: Body) -> None:
        """Try single batches until one proves good, then settle the rest by parts."""
        size = len(refused)
        bad: list[tuple[int, Reject]] = []
        untried: list[Body] = []
        tried_to = refused.first
        for proof in range(PROOFS):
            batch = refused.first + proof * size // PROOFS
            if batch > tried_to:
                untried.append(Body(tried_to, batch))
            tried_to = batch + 1
            verdict = await self._deliver(Body(batch, tried_to))
            if isinstance(verdict, Accepted):
                self._frontier.accept(batch, tried_to)
                self._has_good = True
                break
            bad.append((batch, self._reject(batch, verdict)))
        else:
            raise FeedRefused(
                f"mParticle accepted none of {PROOFS} batches that were sent one by one, out of a body of {size}; "
                f"{bad[-1][1].reason}. The mapping or the mParticle input is at fault rather than single rows: correct "
                f"it, then abandon the run (its mapping is frozen), or retry it if only the input was corrected"
            )
        for batch, reject in bad:
            self._frontier.refuse(batch, reject)
        rest = Body(tried_to, refused.end)
        for part in untried:
            await self.settle(part)
        if bad or len(rest) == 1:
            await self.settle(rest)
        else:
            await self._halve(rest, holds_bad=True)

    def _reject(self, batch: int, verdict: BatchesRefused | TooLarge) -> Reject:
        row = self._frontier.row(batch)
        match verdict:
            case BatchesRefused(message):
                return Reject(row, RejectCode.REFUSED_BY_MPARTICLE, f"mParticle says: {message}")
            case TooLarge():
                return Reject(row, RejectCode.BATCH_TOO_LARGE, "mParticle says: this batch alone is too large (413)")
