"""The schedule in a real Valkey on a clock that is told, and senders that live on that clock."""

import heapq
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count

import redis

from shared.run import Lane
from worker.mparticle.governor import BURST_S, WINDOW_S, Rank
from worker.mparticle.schedule import RESERVE

MICRO = 1_000_000
START = 1_764_000_000 * MICRO + 123_456
LONGEST_S = 10_000.0


def told(script: str) -> str:
    """Give a script that is told the time by its last two arguments, seconds and microseconds."""
    changed = script.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}")
    assert changed != script
    return changed


class Schedule:
    """One account's schedule; time is in microseconds and is told, not read.

    Args:
        client: where it is kept.
        key: the schedule of another worker, to share it.
        script: what that worker reserves with.
        growth: what one second may bring beyond the second before; by default far more than any quota. None where
            nothing was learned yet.
    """

    def __init__(
        self, client: redis.Redis, *, key: str | None = None, script: str = RESERVE, growth: int | None = 10**9
    ) -> None:
        self.client = client
        self.key = key or f"test:{uuid.uuid4()}"
        if growth is not None and key is None:
            client.hset(self.key, "growth", growth)
        self._script = client.register_script(told(script))

    def ask(  # noqa: PLR0913 - all that a call can say; each is named
        self,
        now: int,
        batches: int,
        rate: float,
        lane: Lane = Lane.LIVE,
        *,
        ticket: bytes = b"",
        longest_s: float = LONGEST_S,
        is_again: bool = False,
        following: int = 0,
    ) -> tuple[bool, int, bytes]:
        """Give whether a slot is granted, after how many microseconds, and what to show when asking again."""
        limits = (int(BURST_S * MICRO), int(WINDOW_S * MICRO))
        rank = Rank.AGAIN if is_again else Rank.LIVE if lane is Lane.LIVE else Rank.BACKFILL
        arguments = (
            batches,
            rate,
            int(longest_s * MICRO),
            ticket,
            *limits,
            int(rank),
            -1,
            following,
            *divmod(now, MICRO),
        )
        granted, wait, ticket, *_ = self._script(keys=[self.key], args=arguments)
        return bool(granted), int(wait), ticket

    def slot(self, now: int, batches: int, rate: float) -> int:
        """Reserve on the live lane, and give when the batches may go."""
        granted, wait, _ = self.ask(now, batches, rate)
        assert granted
        return now + wait


@dataclass
class Sender:
    """A process that sends one body after another, asking for each by itself.

    Attributes:
        lane: its lane.
        batches: in each of its bodies.
        rate: the account's quota, as its feed declares it.
        schedule: where it asks.
        rest: microseconds from one body to the next question.
        late: microseconds by which it wakes up late.
        longest_s: how long it would wait for one body; denied, it comes back when told.
        ends_at: its time of death, whatever it holds then.
        grants: when it was granted, in microseconds since the start.
        waits: for each of them, how long after the first question.
        calls: how often it asked.
    """

    lane: Lane
    batches: int
    rate: float
    schedule: Schedule
    rest: Callable[[], int] = lambda: 0
    late: Callable[[], int] = lambda: 0
    longest_s: float = 30.0
    ends_at: int | None = None
    grants: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)
    calls: int = 0

    def life(self, began_at: int) -> Generator[int, int]:
        """Ask and send, from that time on; gives when it wants to be woken, and is told when it is."""
        now = yield began_at
        while True:
            asked_at, ticket, is_granted = now, b"", False
            while not is_granted:
                self.calls += 1
                left_s = max(0.0, self.longest_s - (now - asked_at) / MICRO)
                told, wait, ticket = self.schedule.ask(
                    START + now, self.batches, self.rate, self.lane, ticket=ticket, longest_s=left_s
                )
                is_granted = told and not wait
                if not is_granted:
                    now = yield now + wait + self.late()
                if not told:
                    asked_at = now
            self.grants.append(now)
            self.waits.append(now - asked_at)
            now = yield now + self.rest()


def let_live(senders: Sequence[Sender], seconds: float, *, begins_s: float = 0.0) -> None:
    """Let that much time pass for all of them together; whatever they wait for at its end they have left."""
    order, began_at = count(), int(begins_s * MICRO)
    due = [(began_at, next(order), sender, sender.life(began_at)) for sender in senders]
    for _, _, _, life in due:
        next(life)
    heapq.heapify(due)
    while due and due[0][0] < began_at + int(seconds * MICRO):
        now, _, sender, life = heapq.heappop(due)
        if sender.ends_at is None or now < sender.ends_at:
            heapq.heappush(due, (life.send(now), next(order), sender, life))
