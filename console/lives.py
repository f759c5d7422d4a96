"""Verbs on a pipeline's life: checked and activated, paused, resumed, deleted."""

from collections.abc import Callable

from shared.catalog import Pipeline
from shared.errors import DeclarationInvalid, NoWorker
from shared.probe import Answer, ProbeKind, Question
from shared.run import PipelineState, RunId
from shared.settings import Settings
from shared.store import declared, lives, records
from shared.store.asked import Asked
from shared.store.database import Database
from shared.store.declared import PipelineRow


class Lives:
    """What brings a pipeline from one state into the next, bound to one state database, one broker and the workers."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        send: Callable[[Asked], tuple[RunId, ...]],
        ask: Callable[[Question], Answer],
    ) -> None:
        """Take what the verbs share; ``send`` and ``ask`` are those of :class:`console.operations.Operations`."""
        self._database = database
        self._settings = settings
        self._send = send
        self._ask = ask

    def activate(self, pipeline_id: str) -> PipelineRow:
        """Let a draft run on its schedule."""
        with self._database.transaction() as connection:
            return lives.activate(connection, pipeline_id)

    def check_draft(self, pipeline_id: str) -> None:
        """Have a worker look at a draft's columns and its iterator; run no query.

        Raises:
            NotFound: there is no such pipeline.
            MoveNotAllowed: it is no draft any more.
            DeclarationInvalid: it cannot run as it is declared.
            NoWorker, WarehouseBusy, SyncError: as of ``ask``.
        """
        with self._database.transaction() as connection:
            lives.require_draft(declared.get_pipeline(connection, pipeline_id))
        try:
            answer = self._ask(Question(kind=ProbeKind.COLUMNS, pipeline_id=pipeline_id))
        except NoWorker as error:
            raise NoWorker(f"{error}; or activate it with --unchecked (unchecked=true)") from error
        if answer.refused:
            raise DeclarationInvalid(f"pipeline {pipeline_id!r} cannot run as it is declared: {answer.refused}")

    def move(self, pipeline_id: str, state: PipelineState, *, unchecked: bool = False) -> None:
        """Bring a pipeline into a state; nothing happens where it is in it. A draft is checked before it begins.

        Raises:
            NotFound: there is no such pipeline.
            MoveNotAllowed: nothing leads there: what has begun is no draft again.
            DeclarationInvalid, NoWorker, WarehouseBusy, SyncError: as of ``check_draft`` and ``activate``.
        """
        with self._database.transaction() as connection:
            found = declared.get_pipeline(connection, pipeline_id).state
        if found is state:
            return
        if found is PipelineState.DRAFT and not unchecked:
            self.check_draft(pipeline_id)
        with self._database.transaction() as connection:
            asked = lives.move(connection, pipeline_id, state, window_chunks=self._settings.run_window_chunks)
        self._send(asked)

    def begin(self, pipeline_id: str) -> PipelineRow:
        """Activate a pipeline if it is a draft; else leave it as it is."""
        with self._database.transaction() as connection:
            row = declared.get_pipeline(connection, pipeline_id, lock=True)
            return lives.activate(connection, pipeline_id) if row.state is PipelineState.DRAFT else row

    def pause(self, pipeline_id: str) -> PipelineRow:
        """Start no new run of a pipeline, and claim nothing more of those that are open."""
        with self._database.transaction() as connection:
            return lives.pause(connection, pipeline_id)

    def resume(self, pipeline_id: str) -> PipelineRow:
        """Let a paused pipeline go on, with its next occurrence."""
        with self._database.transaction() as connection:
            asked = lives.resume(connection, pipeline_id, window_chunks=self._settings.run_window_chunks)
            row = declared.get_pipeline(connection, pipeline_id)
        self._send(asked)
        return row

    def delete(self, pipeline_id: str, *, version: int | None = None) -> None:
        """Cancel what a pipeline does and let nothing start any more; ``version`` is the one that was read, if any.

        Raises:
            NotFound: there is none.
            ChangedMeanwhile: somebody changed it since.
        """
        with self._database.transaction() as connection:
            if version is not None:
                declared.get_pipeline(connection, pipeline_id)
                records.require_version(connection, Pipeline, pipeline_id, version)
            lives.delete(connection, pipeline_id)
