"""What a mapping plan allows and its operator may not expect: said before a run, and no reason against one."""

from collections.abc import Iterator

from shared.feed import ProtectionLevel
from shared.mapping.destinations import DELETED_USER_ATTRIBUTES, USER_ATTRIBUTES
from shared.mapping.plan import EVENT_DATA, EVENT_TIME, MappingPlan, Path


def cautions_of(plan: MappingPlan, *, protection: ProtectionLevel) -> tuple[str, ...]:
    """Say what to know about a plan whose batches go to a feed of that protection level, in whole sentences."""
    return tuple(_cautions(plan, protection))


def _cautions(plan: MappingPlan, protection: ProtectionLevel) -> Iterator[str]:
    paths = {leaf.path for leaf in plan.leaves} | {constant.path for constant in plan.constants}
    tops = {path[0] for path in paths}
    if "consent_state" in tops:
        yield (
            "consent_state is mapped, and mParticle takes consent from the keys of platform and custom feeds only: "
            "with a partner feed's key it stays as it is"
        )
    if not plan.has_events:
        return
    if EVENT_TIME not in paths:
        yield (
            "events.data.timestamp_unixtime_ms is not mapped, so each event counts as of when mParticle receives it, "
            "and none as historical"
        )
    for name, instead in (("event_id", "source_message_id"), ("session_id", "session_uuid")):
        path: Path = (*EVENT_DATA, name)
        if path in paths:
            yield f"mParticle makes events.data.{name} itself and may replace yours; events.data.{instead} is kept"
    if protection is ProtectionLevel.READ_ONLY and tops & {USER_ATTRIBUTES, DELETED_USER_ATTRIBUTES}:
        yield (
            f"{USER_ATTRIBUTES} are mapped, and the feed is read_only in mParticle: its batches change no profile, so "
            "they reach what the events are forwarded to at most"
        )
