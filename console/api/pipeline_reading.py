"""Bodies of requests to pipelines: v2's names as ours, and what no deployment of ours can use told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from console.api.pipeline_answers import ANSWERED, plan_of
from console.api.reading import read
from console.shapes.ground import Message
from shared.catalog import Pipeline
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.run import PipelineState

_STATES: Final = (PipelineState.DRAFT, PipelineState.ACTIVE, PipelineState.PAUSED)
_FEED: Final = ("partner_feed_id", "partner_feed_key", "feed_id")
_PLAN: Final = ("plan_id", "plan_version")


@dataclass(frozen=True, slots=True)
class Requested:
    """What a request declares, the state that it wants where it names one, and what of it was not understood."""

    pipeline: Pipeline
    state: PipelineState | None
    warnings: tuple[Message, ...]


def read_pipeline(document: Mapping[str, Any], feeds: Sequence[Feed], *, own_feed: str | None = None) -> Requested:
    """Read a request about a pipeline; ``own_feed`` is the one that it has, where it is there already.

    Raises:
        DeclarationInvalid: something is wrong with it; one line a mistake.
    """
    left = {name: value for name, value in document.items() if name not in {"state", *_FEED, *_PLAN}}
    left["feed_id"] = _feed_id(document, feeds) or own_feed
    if left["feed_id"] is None:
        del left["feed_id"]
    if isinstance(schedule := document.get("schedule"), dict) and "start_time" in schedule and "start" not in schedule:
        left["schedule"] = {("start" if name == "start_time" else name): part for name, part in schedule.items()}
    pipeline, told = read(Pipeline, left, answered=ANSWERED)
    return Requested(pipeline, _state(document.get("state")), (*_unused(document, pipeline), *told))


def _state(named: object) -> PipelineState | None:
    if named is None:
        return None
    found = next((state for state in _STATES if isinstance(named, str) and state.value == named.lower()), None)
    if found is None:
        raise DeclarationInvalid(f"state: expected {', '.join(_STATES)}, or none to leave it as it is; got {named!r}")
    return found


def _feed_id(document: Mapping[str, Any], feeds: Sequence[Feed]) -> Any:
    """Give the feed that a request names, by our id or by mParticle's key; a key that is hidden names none."""
    named, key = document.get("feed_id"), document.get("partner_feed_key")
    if key is None or (isinstance(key, str) and key.endswith("*")):
        return named
    having = [feed.id for feed in feeds if feed.api_key == key]
    if not having:
        raise DeclarationInvalid("partner_feed_key: no feed that is declared has this key; declare one (POST /feeds)")
    if named is None and len(having) > 1:
        raise DeclarationInvalid(f"partner_feed_key: the feeds {', '.join(having)} have this key; say feed_id instead")
    if named is not None and named not in having:
        raise DeclarationInvalid(f"partner_feed_key: it is that of feed {having[0]!r}, and feed_id says {named!r}")
    return named or having[0]


def _unused(document: Mapping[str, Any], pipeline: Pipeline) -> list[Message]:
    told = []
    if document.get("partner_feed_id") is not None:
        told.append("partner_feed_id: feeds are known here by feed_id and partner_feed_key; it is ignored")
    declared = dict(zip(_PLAN, plan_of(pipeline), strict=True))
    told += [
        f"{name}: what batches are checked against is the document in data_plan, which says {declared[name]!r}; "
        "it is ignored"
        for name in _PLAN
        if document.get(name) not in (None, declared[name])
    ]
    return [Message(message=sentence) for sentence in told]
