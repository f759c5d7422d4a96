"""What a run froze when it was planned, as the attempts at its chunks need it, and as their feed must still be."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from shared.dataplan import DataPlan
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.mapping.plan import MappingPlan
from shared.run import RunId, Window
from shared.snapshot import Snapshot, read_snapshot
from shared.store import runs
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.judge import judge_of
from worker.mparticle.shares import Positions
from worker.process import Process
from worker.stale import Sendable


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a run froze, of what its attempts need."""

    snapshot: Snapshot
    plan: MappingPlan
    window: Window

    @property
    def replays_users(self) -> bool:
        """Whether rejected rows of users are sent anew; events are facts, however old."""
        return self.snapshot.is_replay and not self.plan.has_events

    def sendable(self, rows: Positions, table: Any) -> Sendable:
        """Say of some rows of a chunk whose they are, and how new."""
        return Sendable.of(rows, table, plan=self.plan, snapshot=self.snapshot)


@lru_cache(maxsize=8)
def frozen_of(process: Process, run_id: RunId) -> tuple[Frozen, Encoder]:
    """Give what a run froze, and the encoder for it; one that is at work is remembered.

    Raises:
        ProcessOutdated: a newer version planned it.
    """
    with process.database.transaction() as connection:
        run = runs.get(connection, run_id)
    snapshot = read_snapshot(run.number, run.snapshot)
    plan = MappingPlan.from_json(snapshot.mapping)
    merging = Merging(
        max_events=snapshot.batch_max_events,
        users=snapshot.merges_users,
        historical_before_ms=snapshot.historical_before_ms,
    )
    declared_plan = None if snapshot.data_plan is None else DataPlan.model_validate(snapshot.data_plan)
    judge = judge_of(declared_plan, names=plan.names)
    encoder = Encoder(plan, checks=Checks.from_json(snapshot.checks), merging=merging, judge=judge)
    return Frozen(snapshot, plan, run.window), encoder


def require_same_feed(feed: Feed, snapshot: Snapshot) -> None:
    """Refuse to show the feed's secret to an address, or to send ids under a key, that the run was not planned for."""
    if (feed.base_url, feed.api_key) != (snapshot.feed.base_url, snapshot.feed.api_key):
        raise DeclarationInvalid(
            f"feed {feed.id!r}: its base_url or api_key is not what this run was planned with, and mParticle knows ids "
            "by key; declare it as it was and retry the run, or abandon it: its window is then read for the new one"
        )
