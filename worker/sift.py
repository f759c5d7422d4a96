"""From a body to what became of each of its batches: bad batches are found one by one, good ones are kept.

mParticle refuses a body whole and does not say which batch it means, so a refused body is taken apart until what is
refused is a single batch. Each part is sent with the ids it always had. Since the account's quota counts the batches
of every try, as few as possible are sent: what must hold a bad batch is halved without asking.

A refused batch of several events is sent again event by event, each as a batch of its own under an id of its own, since
mParticle may remember the refused one. So a bad event takes no good ones along.

Where a mapping is wrong every batch is bad, and finding that out by halves would cost several times the body. So a
refused body first has single batches tried, spread over it, until one proves good. Usually that is the first.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from shared.errors import FeedRefused
from shared.ledger import Reject, RejectCode
from worker.frontier import Frontier
from worker.mparticle.answers import Accepted, BatchesRefused, TooLarge
from worker.mparticle.bodies import Body, split

Verdict = Accepted | BatchesRefused | TooLarge
"""What mParticle says about the content of a body."""

PROOFS: Final = 20
"""So many batches of one body refused one by one, and none accepted: the mapping is wrong, not the rows.

The batches are spread evenly, so that a run of bad rows side by side does not look like a wrong mapping: where a tenth
of a body's rows are good, twenty independent tries would miss them in one of eight bodies; where a quarter are, in one
of three hundred. The events of a batch that several share are one proof together: what is wrong with the user is wrong
with each of them. So that events cannot hide a wrong mapping in bodies of few batches, so many such batches, each
refused event by event, are proof as well where the attempt has nothing accepted yet.
"""


async def sift(body: Body, deliver: Callable[[Body], Awaitable[Verdict]], frontier: Frontier) -> None:
    """Send a body and settle each of its batches.

    Args:
        body: What to send.
        deliver: Sends a part of it until mParticle has something to say about its content.
        frontier: Told each outcome as soon as it is certain.

    Raises:
        FeedRefused: no batch of the body is good; those found bad are not settled, since the mapping is at fault. Or
            nothing that the attempt has sent so far is good; then what was found bad before stays rejected.
    """
    sieve = _Sieve(deliver, frontier, body)
    await sieve.settle(body)
    sieve.end()


class _Sieve:
    """One body being settled. What is refused before anything proves good is not settled until then."""

    def __init__(self, deliver: Callable[[Body], Awaitable[Verdict]], frontier: Frontier, body: Body) -> None:
        self._deliver = deliver
        self._frontier = frontier
        self._size = len(body)
        self._has_good = False
        # A body too small to prove that a mapping is wrong need not wait for proof.
        self._may_be_proof = len({frontier.share(batch) for batch in range(body.first, body.end)}) >= PROOFS
        self._unproven: list[tuple[Body, Reject]] = []
        self._reason = ""

    async def settle(self, body: Body) -> bool:
        """Send a part and settle its batches; True if it was accepted whole."""
        verdict = await self._deliver(body)
        match verdict:
            case Accepted():
                self._accept(body)
                return True
            case BatchesRefused() | TooLarge() if len(body) == 1:
                await self._refuse(body, verdict)
            case BatchesRefused():
                if len(body) < PROOFS or self._has_good:
                    await self._halve(body, holds_bad=True)
                else:
                    await self._sample(body)
            case TooLarge():
                await self._halve(body, holds_bad=False)
        return False

    def end(self) -> None:
        """Settle what was refused: the body has been sent whole."""
        for body, reject in self._unproven:
            if body.event is None:
                self._frontier.refuse(body.first, reject)
            else:
                self._frontier.refuse_event(body.first, body.event, reject)
        self._unproven.clear()

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
        untried: list[Body] = []
        tried_to, found_bad = refused.first, False
        for proof in range(PROOFS):
            batch = refused.first + proof * size // PROOFS
            if batch > tried_to:
                untried.append(Body(tried_to, batch))
            tried_to = batch + 1
            found_bad |= not await self.settle(Body(batch, tried_to))
            if self._has_good:
                break
        rest = Body(tried_to, refused.end)
        for part in untried:
            await self.settle(part)
        if found_bad or len(rest) == 1:
            await self.settle(rest)
        else:
            await self._halve(rest, holds_bad=True)

    async def _by_events(self, refused: Body) -> None:
        """Send the events of one batch one by one."""
        count = self._frontier.events(refused.first)
        has_good = False
        for event in range(count):
            has_good |= await self.settle(Body(refused.first, refused.end, event))
        if not has_good and self._frontier.refused_apart() >= PROOFS and not self._frontier.has_accepted:
            raise self._wrong_mapping()

    def _accept(self, body: Body) -> None:
        if body.event is None:
            self._frontier.accept(body.first, body.end)
        else:
            self._frontier.accept_event(body.first, body.event)
        self._has_good = True

    async def _refuse(self, body: Body, verdict: BatchesRefused | TooLarge) -> None:
        """Take note of a batch that was refused by itself; one of several events may have good ones."""
        if body.event is None and self._frontier.events(body.first) > 1:
            await self._by_events(body)
            return
        self._unproven.append((body, self._reject(body, verdict)))
        self._reason = self._unproven[-1][1].reason
        if self._has_good or not self._may_be_proof:
            self.end()
        elif len({self._frontier.share(one.first) for one, _ in self._unproven}) >= PROOFS:
            raise self._wrong_mapping()

    def _wrong_mapping(self) -> FeedRefused:
        told = self._reason.rstrip(".")
        return FeedRefused(
            f"mParticle accepted none of {PROOFS} batches that were sent one by one, or event by event, the last out "
            f"of a body of {self._size}; {told}. The mapping or the mParticle input is at fault rather than single "
            "rows: correct it, then abandon the run (its mapping is frozen), or retry it if only the input was "
            "corrected"
        )

    def _reject(self, body: Body, verdict: BatchesRefused | TooLarge) -> Reject:
        row = self._frontier.row(body.first, body.event or 0)
        match verdict:
            case BatchesRefused(message):
                return Reject(row, RejectCode.REFUSED_BY_MPARTICLE, f"mParticle says: {message}")
            case TooLarge():
                return Reject(row, RejectCode.BATCH_TOO_LARGE, "mParticle says: this batch alone is too large (413)")
