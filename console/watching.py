"""The verbs that look: at pipelines as a whole, at runs, and at what happened to them. Nothing is changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.catalog import ServiceProvider
from shared.notices import Notice
from shared.run import WORKING, Run, RunId
from shared.store import chunk_list, declared, notices, run_events, run_lists, runs, summaries, work_times
from shared.store.chunk_list import ChunkPlace, ListedChunk
from shared.store.database import Database
from shared.store.run_events import RunEvent
from shared.store.run_lists import RunPlace, Wanted
from shared.store.summaries import Summary
from shared.store.work_times import WorkTime


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run, what keeps its work waiting where anything does, and how long it was at work once it has begun."""

    run: Run
    waits_for: str | None = None
    work: WorkTime | None = None


class Watching:
    """The verbs, bound to one state database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pipeline(self, pipeline_id: str) -> Summary:
        """Give one pipeline as it stands, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            return summaries.of(connection, pipeline_id)

    def pipelines(self, provider: ServiceProvider | None = None) -> list[Summary]:
        """Give all pipelines as they stand by id, or those of one provider's warehouses."""
        with self._database.transaction() as connection:
            return summaries.of_all(connection, provider)

    def run(self, run_id: RunId) -> SeenRun:
        """Give one run as it stands, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            run = runs.get(connection, run_id)
            why = run_lists.why_they_wait(connection, [run_id])
            return SeenRun(run, why.get(run_id), work_times.of_runs(connection, [run]).get(run_id))

    def runs(self, wanted: Wanted, *, before: RunPlace | None = None, offset: int = 0, limit: int) -> list[SeenRun]:
        """Give runs, newest first, or raise ``NotFound`` where they should be of a pipeline that is not there."""
        with self._database.transaction() as connection:
            if wanted.pipeline_id is not None:
                declared.get_pipeline(connection, wanted.pipeline_id)
            found = run_lists.newest(connection, wanted, before=before, offset=offset, limit=limit)
            why = run_lists.why_they_wait(connection, [run.id for run in found if run.state in WORKING])
            worked = work_times.of_runs(connection, found)
        return [SeenRun(run, why.get(run.id), worked.get(run.id)) for run in found]

    def references(self, run_ids: Sequence[RunId]) -> list[tuple[RunId, int]]:
        """Give the numbers of runs beside their ids."""
        with self._database.transaction() as connection:
            numbers = runs.numbers_of(connection, run_ids)
        return [(run_id, numbers[run_id]) for run_id in run_ids]

    def askers(self, run_ids: Sequence[RunId]) -> dict[RunId, str]:
        """Give who asked for each of some runs, of those that somebody asked for."""
        with self._database.transaction() as connection:
            return run_events.askers(connection, run_ids)

    def events(self, run_id: RunId, *, after_id: int = 0, limit: int) -> list[RunEvent]:
        """Give what happened to a run, oldest first; later than ``after_id`` to read on."""
        with self._database.transaction() as connection:
            return run_events.of_run(connection, run_id, after_id=after_id, limit=limit)

    def chunks(self, run_id: RunId, *, after: ChunkPlace | None = None, limit: int) -> list[ListedChunk]:
        """Give a run's chunks in order; those behind the place ``after`` to read on."""
        with self._database.transaction() as connection:
            return chunk_list.of_run(connection, run_id, after=after, limit=limit)

    def notices(self, pipeline_id: str, *, before_id: int | None = None, limit: int) -> list[Notice]:
        """Give what happened to a pipeline, newest first, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            declared.get_pipeline(connection, pipeline_id)
            return notices.newest(connection, pipeline_id, before_id=before_id, limit=limit)
