"""What is declared: each connection signs in, each feed does, each pipeline's columns can be read."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from console.examining.finding import Finding, compared
from console.examining.probing import Prober
from console.operations import Operations
from shared.catalog import Pipeline
from shared.probe import Answer, ProbeKind


def of_declarations(operations: Operations, prober: Prober, connection_id: str | None) -> Iterator[Finding]:
    """Look at connections, feeds and pipelines; at one connection and what its pipelines use where it is named."""
    declared = operations.connections()
    connections = [one.id for one in declared if connection_id in (None, one.id)]
    if not declared:
        yield Finding("connections", "none is declared", "declare one: `warehouse-sync apply FILE`")
    elif not connections:
        names = ", ".join(one.id for one in declared)
        yield Finding(
            f"connection {connection_id}", "there is no such connection", f"name one that is declared: {names}"
        )
    pipelines = [row.pipeline for row in operations.pipelines() if row.pipeline.connection_id in connections]
    yield from _of_feeds(operations, prober, None if connection_id is None else pipelines)
    for one in connections:
        yield from _of_connection(prober, one, [pipeline for pipeline in pipelines if pipeline.connection_id == one])


def _of_feeds(operations: Operations, prober: Prober, used_by: list[Pipeline] | None) -> Iterator[Finding]:
    """Look at all feeds, or at those that some pipelines use."""
    used = None if used_by is None else {pipeline.feed_id for pipeline in used_by}
    for feed in operations.dependencies.feeds():
        if used is None or feed.id in used:
            subject = f"feed {feed.id}"
            yield from prober.ask(subject, partial(_feed, subject), ProbeKind.FEED, feed_id=feed.id)


def _of_connection(prober: Prober, connection_id: str, pipelines: list[Pipeline]) -> Iterator[Finding]:
    """Sign in, and where that works compare its clock and read its pipelines' columns."""
    subject = f"connection {connection_id}"
    answers: list[Answer] = []

    def signed_in(answer: Answer) -> Finding:
        answers.append(answer)
        who = ", ".join(f"{name} {value}" for name, value in answer.session.items())
        return Finding(subject, f"signed in: {who}")

    yield from prober.ask(subject, signed_in, ProbeKind.TEST, connection_id=connection_id)
    for answer in answers:
        if answer.warehouse_now is not None:
            yield compared(
                f"{subject}'s clock",
                answer.warehouse_now,
                earliest=prober.asked_at,
                latest=datetime.now(UTC),
                cure="set this machine's clock by NTP, or the warehouse's where that is yours; a window ends by the "
                "earlier of both",
            )
        for pipeline in pipelines:
            yield from _of_pipeline(prober, pipeline.id)


def _of_pipeline(prober: Prober, pipeline_id: str) -> Iterator[Finding]:
    subject = f"pipeline {pipeline_id}"

    def read(answer: Answer) -> Finding:
        return Finding(subject, f"{len(answer.columns)} columns may be read", answer.refused)

    yield from prober.ask(subject, read, ProbeKind.COLUMNS, pipeline_id=pipeline_id)


def _feed(subject: str, answer: Answer) -> Finding:
    if answer.feed is None:
        return Finding(subject, "answers, and a worker of another release did not say what", "update the workers")
    signed_in = {True: "signs in", None: "may sign in", False: "does not sign in"}[answer.feed.signed_in]
    return Finding(subject, f"{signed_in}: {answer.feed.found}")
