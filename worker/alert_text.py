"""Changes of alerts in words: what every channel tells, and the cure (pure).

The words are ours, names of pipelines the operators', sentences the errors'. None of them holds a row's value or a
secret.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import quote
from uuid import UUID

from shared import moments
from shared.alert_message import AlertMessage, ToldPipeline, ToldRun
from shared.alerts import AlertChange, AlertName, Change, Condition
from shared.run import RunState

_TITLES: Final[Mapping[AlertName, str]] = {
    AlertName.RUN_FAILED: "run {run} of pipeline {pipeline} failed: {kind}",
    AlertName.PIPELINE_FAULTED: "pipeline {pipeline} is faulted",
    AlertName.ROWS_REJECTED: "run {run} of pipeline {pipeline} rejects many rows",
    AlertName.STALE: "pipeline {pipeline} is stale",
    AlertName.VOLUME_UNUSUAL: "run {run} of pipeline {pipeline} reads unusually many or few rows, and is held",
    AlertName.RUN_HELD: "run {run} of pipeline {pipeline} is held",
    AlertName.CREDENTIALS_REFUSED: "run {run} of pipeline {pipeline} cannot sign in: {kind}",
    AlertName.FULL_RESYNC: "pipeline {pipeline} reads everything anew",
    AlertName.BACKFILL_FINISHED: "history of pipeline {pipeline} is read",
}
_TITLES_AFTER: Final[Mapping[AlertName, str]] = {
    AlertName.RUN_FAILED: "run {run} of pipeline {pipeline} is no longer failed",
    AlertName.PIPELINE_FAULTED: "pipeline {pipeline} is no longer faulted",
    AlertName.ROWS_REJECTED: "pipeline {pipeline} no longer rejects many rows",
    AlertName.STALE: "pipeline {pipeline} is no longer stale",
    AlertName.VOLUME_UNUSUAL: "run {run} of pipeline {pipeline} is no longer held for its number of rows",
    AlertName.RUN_HELD: "run {run} of pipeline {pipeline} is no longer held",
    AlertName.CREDENTIALS_REFUSED: "run {run} of pipeline {pipeline} no longer waits for a sign-in",
}
"""Of what has recovered: nobody who reads one line takes it for trouble. Events are over as they happen."""
_CURES: Final[Mapping[AlertName, tuple[str, str | None]]] = {
    AlertName.RUN_FAILED: (
        "correct what the sentence names, then retry the run; until then nothing newer of its pipeline is read",
        "warehouse-sync retry {run}",
    ),
    AlertName.PIPELINE_FAULTED: (
        "nothing of it runs until its failed run is retried or abandoned",
        "warehouse-sync runs {pipeline_id}",
    ),
    AlertName.ROWS_REJECTED: (
        "see why, correct the query, the mapping or the rows, then replay what was rejected",
        "warehouse-sync rejects {run}",
    ),
    AlertName.STALE: (
        "see what holds it: a run that is stopped or waits, a spool that is full, no worker, no beat",
        "warehouse-sync runs {pipeline_id}",
    ),
    AlertName.VOLUME_UNUSUAL: (
        "see whether so many rows, or so few, are meant; then let the run go on, or correct the cause and abandon it",
        "warehouse-sync approve {run}",
    ),
    AlertName.RUN_HELD: ("answer its question: let the run go on, or abandon it", "warehouse-sync approve {run}"),
    AlertName.CREDENTIALS_REFUSED: (
        "correct the secret, or the rights behind it, then retry the run",
        "warehouse-sync retry {run}",
    ),
    AlertName.FULL_RESYNC: ("if nobody meant it, pause the pipeline", "warehouse-sync backfills {pipeline_id}"),
    AlertName.BACKFILL_FINISHED: ("", "warehouse-sync backfills {pipeline_id}"),
}
_ENDS: Final[Mapping[AlertName, str]] = {
    AlertName.PIPELINE_FAULTED: "the pipeline is not faulted any more",
    AlertName.ROWS_REJECTED: "the newest run rejects no more than is allowed",
    AlertName.STALE: "the pipeline has read on, or is not meant to run now",
}
_MOVES: Final[Mapping[RunState, str]] = {
    RunState.SETTLED: "the run settled",
    RunState.ABANDONED: "the run was abandoned",
    RunState.CANCELLED: "the run was cancelled",
}
_NO_COUNTS: Final[Mapping[str, int]] = MappingProxyType({})
_WITH_KINDS: Final = frozenset({AlertName.RUN_FAILED, AlertName.CREDENTIALS_REFUSED})


def message_of(
    change: AlertChange,
    *,
    id_: UUID,
    alert_id: UUID,
    link_base: str | None,
    run_state: RunState | None = None,
    run_counts: Mapping[str, int] = _NO_COUNTS,
) -> AlertMessage:
    """Give what is told of a change.

    ``run_state`` and ``run_counts`` are those that the run of one that recovered has now: what was so when it opened
    is over, and so is the kind of its error.
    """
    condition, is_over = change.condition, change.change is Change.RECOVERED
    cure, command = _CURES[condition.name]
    return AlertMessage(
        id=id_,
        alert_id=alert_id,
        name=condition.name,
        change=change.change,
        title=_title(change),
        sentence=_end(condition, run_state) if is_over else condition.sentence,
        since=condition.since,
        ended=change.ended_at,
        pipeline=ToldPipeline(id=condition.pipeline_id, name=condition.pipeline_name),
        run=_run(condition),
        error_kind=condition.kind if condition.name in _WITH_KINDS and not is_over else None,
        counts=dict(run_counts if is_over else condition.counts),
        cure="" if is_over else cure,
        command=None if is_over or command is None else _filled(command, condition),
        link=_link(condition, link_base),
    )


def trial(id_: UUID, now: datetime) -> AlertMessage:
    """Give the message that tries out a channel."""
    return AlertMessage(
        id=id_,
        alert_id=id_,
        name=AlertName.RUN_FAILED,
        change=Change.OPENED,
        title="test: alerts of Warehouse Sync arrive here",
        sentence="somebody asked for this message by `warehouse-sync alerts test`; nothing is the matter",
        since=now,
        cure="",
        is_test=True,
    )


def lines_of(message: AlertMessage) -> list[str]:
    """Give all that a message says, line by line, for channels that show text; the title is not among them."""
    lines = [message.sentence]
    if message.pipeline is not None:
        lines.append(f"pipeline: {message.pipeline.name} ({message.pipeline.id})")
    if message.run is not None:
        lines.append(f"run: {message.run.number} ({message.run.id})")
    if message.error_kind is not None:
        lines.append(f"kind: {message.error_kind}")
    if message.counts:
        lines.append("rows: " + ", ".join(f"{count:,} {name}" for name, count in message.counts.items()))
    until = "" if message.ended is None else f", until {moments.told(message.ended)}"
    lines.append(f"since: {moments.told(message.since)}{until}")
    if message.cure:
        lines.append(f"cure: {message.cure}")
    if message.command is not None:
        lines.append(f"command: {message.command}")
    if message.link is not None:
        lines.append(f"link: {message.link}")
    return [*lines, f"id: {message.id} ({message.name}, {message.change})"]


def _title(change: AlertChange) -> str:
    name, condition = change.condition.name, change.condition
    title = _filled(_TITLES[name], condition)
    match change.change:
        case Change.RECOVERED:
            return f"recovered: {_filled(_TITLES_AFTER.get(name, _TITLES[name]), condition)}"
        case Change.CHANGED:
            return f"changed: {title}"
        case _:
            return title


def _filled(pattern: str, condition: Condition) -> str:
    return pattern.format(
        run=condition.run_number,
        pipeline=condition.pipeline_name,
        pipeline_id=condition.pipeline_id,
        kind=condition.kind,
    )


def _run(condition: Condition) -> ToldRun | None:
    if condition.run_id is None or condition.run_number is None:
        return None
    return ToldRun(id=condition.run_id, number=condition.run_number)


def _end(condition: Condition, run_state: RunState | None) -> str:
    if condition.name in _ENDS:
        return _ENDS[condition.name]
    return "the run goes on" if run_state is None else _MOVES.get(run_state, "the run goes on")


def _link(condition: Condition, base: str | None) -> str | None:
    if base is None:
        return None
    if condition.run_number is not None:
        return f"{base.rstrip('/')}/runs/{condition.run_number}"
    return f"{base.rstrip('/')}/pipelines/{quote(condition.pipeline_id, safe='')}"
