"""The verb of reviews: what a pipeline would do, before it does anything. Nothing is sent for it, and nothing moves."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from console.asking import Outcome
from console.forecast import Sampled, due_times, interval_of, reading, warn_of_full
from console.frequency import in_words
from console.reviewed import Reads, Review, ReviewedColumn, ReviewedFeed
from console.sampled import MEANS, historical_before, note_on, profiles_of
from shared.catalog import Connection, DataModel, Environment, Full, Pipeline, declared_environment
from shared.errors import DeclarationInvalid, NotFound, NoWorker, SyncError
from shared.feed import Feed
from shared.mapping.destinations import USER_ATTRIBUTES
from shared.probe import Answer, ColumnAnswer, ProbeKind, Question
from shared.run import PipelineState, Standing
from shared.schedule import first_due, next_due
from shared.store import declared
from shared.store.database import Database
from shared.store.declared import PipelineRow
from shared.transformation import FieldTransformation

Part = tuple[ProbeKind, Reads | None]
"""What is asked: of which kind, and for which reading."""

_CREATES: Final = "an attribute of the user; mParticle creates it if the workspace has none of this name"
_RESERVED: Final = "a reserved attribute of the user; mParticle has it already"


class Reviewing:
    """Reviews, bound to one state database; ``ask`` asks workers several questions at once."""

    def __init__(self, database: Database, ask: Callable[[Mapping[Part, Question]], Mapping[Part, Outcome]]) -> None:
        self._database = database
        self._ask = ask

    def saved(self, pipeline_id: str, *, rows: int = 5) -> Review:
        """Review a pipeline that is declared, from a sample of so many rows.

        Raises:
            NotFound: there is no such pipeline.
            NoWorker: no worker took any question in time.
        """
        with self._database.transaction() as connection:
            row = declared.get_pipeline(connection, pipeline_id)
        return self._review(row, {"pipeline_id": pipeline_id}, rows=rows, is_saved=True)

    def draft(
        self,
        pipeline: Pipeline,
        *,
        data_model: DataModel | None = None,
        field_transformation: FieldTransformation | None = None,
        rows: int = 5,
    ) -> Review:
        """Review a pipeline that nobody saved; what it names and is not given is what is declared.

        Raises:
            NotFound: what it names was never declared.
            NoWorker: no worker took any question in time.
        """
        about = {"pipeline": pipeline, "data_model": data_model, "field_transformation": field_transformation}
        row = PipelineRow(pipeline, Standing(generation=1), faulted_reason=None)
        return self._review(row, about, rows=rows, is_saved=False)

    def _review(self, row: PipelineRow, about: Mapping[str, object], *, rows: int, is_saved: bool) -> Review:
        pipeline, now = row.pipeline, datetime.now(UTC)
        with self._database.transaction() as connection:
            feed = declared.get(connection, Feed, pipeline.feed_id)
            environment = declared_environment(pipeline, declared.get(connection, Connection, pipeline.connection_id))
        due = due_times(pipeline.schedule, _first(row, now), now)
        windows = dict(_windows(row, interval_of(due), now))
        found = _Found(self._ask(dict(_questions(about, windows, rows=rows))))
        found.require_any()
        return _reviewed(row, feed, environment, due, tuple(windows), found, now, is_saved=is_saved)


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of the questions."""

    outcomes: Mapping[Part, Outcome]

    def of(self, kind: ProbeKind, reads: Reads | None = None) -> Outcome:
        return self.outcomes[kind, reads]

    def require_any(self) -> None:
        """Raise what makes a review pointless: nobody answered, or what is asked about is not there."""
        errors = [outcome for outcome in self.outcomes.values() if isinstance(outcome, SyncError)]
        for error in errors:
            if isinstance(error, NotFound):
                raise error
        if len(errors) == len(self.outcomes) and all(isinstance(error, NoWorker) for error in errors):
            raise errors[0]


def _first(row: PipelineRow, now: datetime) -> datetime | None:
    """Give when the pipeline is due next; of one that waits for nothing, as if it were activated or resumed now."""
    match row.state:
        case PipelineState.ACTIVE:
            return row.next_due_at
        case PipelineState.DRAFT:
            return first_due(row.pipeline.schedule, now)
        case _:
            return next_due(row.pipeline.schedule, now)


def _windows(
    row: PipelineRow, interval: timedelta | None, now: datetime
) -> Iterator[tuple[Reads, dict[str, datetime | None]]]:
    """Give the readings that the pipeline has before it, each with the window to ask for: none is the next run's."""
    pipeline, standing = row.pipeline, row.standing
    mode = pipeline.sync_mode
    if isinstance(mode, Full):
        yield (Reads.FIRST_SYNC if row.state is PipelineState.DRAFT else Reads.NEXT_RUN), {}
        return
    yield (Reads.FIRST_SYNC if standing.watermark is None else Reads.NEXT_RUN), {}
    if standing.history_to is not None and not standing.is_history_settled:
        yield Reads.HISTORY, {"low": standing.history_settled_to or mode.track_from, "high": standing.history_to}
    if interval is not None:
        ends_at = now - pipeline.schedule.delay
        yield Reads.LATER_RUN, {"low": ends_at - interval, "high": ends_at}


def _questions(
    about: Mapping[str, object], windows: Mapping[Reads, Mapping[str, datetime | None]], *, rows: int
) -> Iterator[tuple[Part, Question]]:
    yield (ProbeKind.COLUMNS, None), Question.model_validate({"kind": ProbeKind.COLUMNS, **about})
    yield (ProbeKind.PREVIEW, None), Question.model_validate({"kind": ProbeKind.PREVIEW, **about, "rows": rows})
    for reads, window in windows.items():
        for kind in (ProbeKind.COUNT, ProbeKind.COST):
            yield (kind, reads), Question.model_validate({"kind": kind, **about, **window})


def _reviewed(  # noqa: PLR0913 - a review is where all of these meet
    row: PipelineRow,
    feed: Feed,
    environment: Environment | None,
    due: tuple[datetime, ...],
    windows: tuple[Reads, ...],
    found: _Found,
    now: datetime,
    *,
    is_saved: bool,
) -> Review:
    pipeline, protection = row.pipeline, feed.input_protection_level
    columns, preview = found.of(ProbeKind.COLUMNS), found.of(ProbeKind.PREVIEW)
    unknown = {
        part: str(outcome)
        for part, outcome in (("columns", columns), ("sample", preview))
        if isinstance(outcome, SyncError)
    }
    shown = next((one for one in (columns, preview) if isinstance(one, Answer)), Answer())
    sample = preview if isinstance(preview, Answer) else Answer()
    sampled = preview if isinstance(preview, SyncError) else _sampled(preview, feed)
    readings = tuple(
        reading(reads, found.of(ProbeKind.COUNT, reads), found.of(ProbeKind.COST, reads), sampled) for reads in windows
    )
    is_full = isinstance(pipeline.sync_mode, Full)
    warnings = (warn_of_full(readings[0], pipeline.schedule, now),) if is_full else ()
    if is_full and len(due) > 1:
        readings = (*readings, replace(readings[0], reads=Reads.LATER_RUN))
    if Reads.LATER_RUN not in {one.reads for one in readings}:
        unknown["later_run"] = "the schedule does not say when later runs are due, so what they read is not known"
    historical = historical_before(now) if pipeline.historical == "auto" else None
    return Review(
        pipeline_id=pipeline.id,
        name=pipeline.name,
        is_saved=is_saved,
        state=row.state.value if is_saved else None,
        mode=pipeline.sync_mode.type,
        kind="users" if pipeline.field_transformation_id is None else "events",
        environment=environment,
        feed=_feed(feed),
        columns=tuple(map(_column, shown.columns)),
        refused=_refused(pipeline, feed, shown),
        cautions=sample.cautions or shown.cautions,
        warnings=warnings,
        sample_rows=None if isinstance(preview, SyncError) else len(preview.rows),
        batches=sample.batches,
        profiles=profiles_of(sample.batches, protection=protection, historical_before=historical),
        profiles_note=note_on(protection),
        rejects=sample.rejects,
        schedule=in_words(pipeline.schedule),
        due=due,
        readings=readings,
        unknown=unknown,
    )


def _sampled(preview: Answer, feed: Feed) -> Sampled:
    return Sampled(len(preview.rows), len(preview.batches), feed.batches_per_s)


def _refused(pipeline: Pipeline, feed: Feed, shown: Answer) -> str | None:
    try:
        declared.require_may_update(pipeline, feed)
    except DeclarationInvalid as error:
        return str(error) if shown.refused is None else f"{error}\n{shown.refused}"
    return shown.refused


def _feed(feed: Feed) -> ReviewedFeed:
    return ReviewedFeed(
        id=feed.id,
        name=feed.name,
        host=feed.host,
        protection=feed.input_protection_level.value,
        protection_means=MEANS[feed.input_protection_level],
        quota_group=feed.quota_group,
        batches_per_s=feed.batches_per_s,
    )


def _column(column: ColumnAnswer) -> ReviewedColumn:
    note = None
    name = column.becomes.removeprefix(f"{USER_ATTRIBUTES}.")
    if column.refused is None and name != column.becomes:
        note = _RESERVED if name.startswith("$") else _CREATES
    return ReviewedColumn(column.name, column.type, column.becomes, column.refused, note)
