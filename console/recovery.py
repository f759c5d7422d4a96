"""What is known of a run that was open when a backup was made, and what each way on would send again (pure)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from shared import moments
from shared.errors import HistoryOvertaken, TooManyRejected
from shared.run import Run, RunKind, RunState


class Ways(StrEnum):
    """How an operator may decide about a held run."""

    ANY = "approve or abandon"
    ABANDON = "abandon"
    UNKNOWN = "approve or abandon; its chunks were not seen"


class Since(StrEnum):
    """What became of a run since the first recovery, where this is a later one."""

    NOTHING = "nothing"
    DECIDED = "decided"
    BEGUN = "begun"


@dataclass(frozen=True, slots=True)
class Restored:
    """A run as a restored store knows it.

    ``unfinished`` chunks are not done, of which ``missing`` are not in the spool; ``None`` where that was not seen.
    """

    run: Run
    unfinished: int
    missing: int | None
    since: Since = Since.NOTHING

    @property
    def ways(self) -> Ways:
        """How somebody may decide."""
        if self.missing or self.run.error_kind == HistoryOvertaken.__name__:
            return Ways.ABANDON
        return Ways.UNKNOWN if self.missing is None and self.unfinished else Ways.ANY

    @property
    def is_read(self) -> bool:
        """Whether all its rows were read and published by then."""
        return self.run.snapshot is not None and self.run.slices_published == self.run.slices_total


def question(found: Restored, *, backup_at: datetime | None, now: datetime, remembered: timedelta) -> str:
    """Say what is known of the run and what its approval or its end would send again.

    mParticle forgets ids after ``remembered``, as far as this product relies on it.
    """
    run = found.run
    as_of = "an instant that is not known" if backup_at is None else moments.told(backup_at)
    said = [f"The state database was restored as of {as_of}; the run was {_standing(found)}"]
    if run.snapshot is None:
        said.append("it was not planned yet, and approve plans it anew")
    else:
        said[0] += f", with {run.ledger.accepted:,} of {run.ledger.extracted:,} rows accepted"
        said.append(_of_chunks(found))
        if not found.is_read and found.ways is not Ways.ABANDON:
            said.append(
                "it had not been read to its end: approve reads the rest, and what was sent of that after the backup "
                "goes out again under new ids (users are none the worse, events count twice)"
            )
        if backup_at is not None and now - backup_at > remembered:
            said.append(f"the backup is older than {remembered.days} days, so mParticle may have forgotten its ids")
    if run.error_kind in {HistoryOvertaken.__name__, TooManyRejected.__name__}:
        said.append(f"it had failed with {run.error_kind}: {run.error}")
    if run.held_reason is not None:
        said.append(f"it was asked about before: {run.held_reason}")
    return "; ".join((*said, _abandoned(run)))


def _standing(found: Restored) -> str:
    state = "held" if found.run.is_held else found.run.state.value
    match found.since:
        case Since.NOTHING:
            return f"{state} then"
        case Since.BEGUN:
            return f"begun after that, and {state} when it was held"
        case Since.DECIDED:
            decision = "cancelled" if state == RunState.CANCELLED else "approved"
            return f"held for that before, {decision} since, and {state} when it was held again"


def _of_chunks(found: Restored) -> str:
    unfinished = f"{found.unfinished:,} unfinished chunks"
    if found.unfinished == 0:
        return "all that was published of it was sent" if not found.is_read else "all its chunks are done"
    if found.missing is None:
        return (
            f"whether its {unfinished} are still in the spool cannot be seen from here; where they are, approve sends "
            "them under their own ids, which mParticle ignores where it has them, and where not, it fails with "
            "ChunkCorrupt, and only abandon leads on"
        )
    if found.missing:
        return (
            f"{found.missing:,} of its {unfinished} are not in the spool any more, because it went on and was closed "
            "after the backup, or because they were lost: only abandon leads on"
        )
    return (
        f"its {unfinished} are in the spool: approve sends them under their own ids, which mParticle ignores where it "
        "has them"
    )


def _abandoned(run: Run) -> str:
    if run.kind is RunKind.REPLAY:
        return "abandon frees the rejected rows that it took, and whoever replays them sends them under new ids"
    return (
        "abandon has its window read anew, and all rows of it are sent under new ids, those that were accepted, too "
        "(users are none the worse, events count twice)"
    )
