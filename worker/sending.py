"""Send a few rows to their feed to see how they arrive: real batches, in the environment development.

Nothing else moves: there is no run, no watermark and no mark, and what was sent is noted nowhere but in the answer. So
it is done once or not at all, and never continued.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from shared.catalog import Environment
from shared.errors import CredentialsRefused, FeedSignInRefused, LedgerUnbalanced
from shared.ledger import Reject
from shared.probe import Answer, RejectAnswer, SentAnswer
from worker.frontier import Step
from worker.mparticle.client import FeedClient
from worker.mparticle.quota import Quota
from worker.sample import Sample, Subject
from worker.upload import Finished, Stopped, UploadLimits, Yielded, upload

_NOTE: Final = (
    "a row that was sent stays sent: mParticle has it in its environment development, and nothing here takes it back"
)


def for_development(subject: Subject) -> Subject:
    """Give a pipeline whose batches belong to development, whatever it declares."""
    return replace(subject, environment=Environment.DEVELOPMENT)


def at_most(limits: UploadLimits, seconds: float) -> UploadLimits:
    """Give limits for one short attempt, whose bodies go one by one: so what is not accepted was not begun."""
    return replace(
        limits,
        requests_in_flight=1,
        attempt_target_s=min(limits.attempt_target_s, seconds),
        max_wait_s=min(limits.max_wait_s, seconds),
    )


@dataclass(slots=True)
class _Account:
    """What became of the rows so far."""

    accepted_rows: int = 0
    accepted_batches: int = 0
    rejects: list[Reject] = field(default_factory=list)

    async def record(self, step: Step) -> None:
        self.accepted_rows += step.progress.accepted
        self.accepted_batches += step.progress.batches
        self.rejects += step.progress.rejects


async def send(
    sample: Sample,
    *,
    ids: str,
    feed: FeedClient,
    quota: Quota,
    limits: UploadLimits,
    stopping: Callable[[], bool],
) -> Answer:
    """Send the batches of a sample, as one attempt at a chunk does, and say what became of each row.

    Args:
        sample: Of a pipeline ``for_development``.
        ids: What its batches' ids begin with.
        feed: Where they go.
        quota: What pays for them.
        limits: Of one attempt, from ``at_most``.
        stopping: Asked a few times a second; once True no further body starts.

    Raises:
        FeedSignInRefused: the feed refused the sign-in, before it took anything.
        FeedRefused: it refuses every batch, or is not mParticle.
        LedgerUnbalanced: a batch belongs to another environment than development.
    """
    if any(batch.get("environment") != Environment.DEVELOPMENT for batch in sample.batches):
        raise LedgerUnbalanced(
            "a batch of a sample belongs to another environment than development; please report this"
        )
    account = _Account()
    rows = sample.table.num_rows
    ending = await upload(
        sample.encoded,
        rows=rows,
        position=0,
        feed=feed,
        governor=quota,
        limits=limits,
        record=account.record,
        stopping=stopping,
    )
    if isinstance(ending, Stopped) and not account.accepted_rows:
        if isinstance(
            ending.error, CredentialsRefused
        ):  # A warehouse may refuse one, too, and whoever asked must know which did.
            raise FeedSignInRefused(str(ending.error)) from ending.error
        raise ending.error
    return Answer(
        batches=sample.batches,
        cautions=sample.cautions,
        rejects=tuple(RejectAnswer(row=one.row, code=one.code, reason=one.reason) for one in account.rejects),
        sent=SentAnswer(
            ids=ids,
            rows=rows,
            accepted_rows=account.accepted_rows,
            accepted_batches=account.accepted_batches,
            unsent_rows=rows - account.accepted_rows - len(account.rejects),
            why_unsent=_why(ending),
            note=_NOTE,
        ),
    )


def _why(ending: Finished | Yielded | Stopped) -> str | None:
    match ending:
        case Finished():
            return None
        case Yielded(reason=reason, is_silent=is_silent):
            doubt = "; the feed answered nothing, and may have taken the first of them" if is_silent else ""
            return f"{reason}{doubt}"
        case Stopped(error=error):
            return str(error)
