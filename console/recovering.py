"""The verb for when PostgreSQL was restored from a backup: hold what was open, and say what is known of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from console.recovery import Restored, question
from shared.endpoints import spool_url
from shared.errors import BrokerUnavailable, StillAtWork, SyncError
from shared.run import HeldFor, PipelineState, Run, RunId
from shared.settings import Settings
from shared.spool import Spool
from shared.store import beats, declared, lives, markers, recovering
from shared.store.database import Database
from shared.store.declared import PipelineRow

_SILENT: Final = timedelta(seconds=60)
"""A beat that has not ticked for so long is stopped; it ticks every few seconds."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a restored store knows, and what became of it; ``runs`` are held, or would be where ``is_dry_run``.

    ``unknown_runs`` have chunks in the spool and were begun after the backup; ``None`` where the spool is not seen from
    here, and ``spool`` says why. Numbers of runs up to ``last_skipped`` are never given.
    """

    is_dry_run: bool
    backup_at: datetime | None
    runs: Sequence[tuple[Restored, str]]
    pipelines: Sequence[PipelineRow]
    paused: Sequence[str]
    spool: str
    unknown_runs: Sequence[RunId] | None
    last_skipped: int | None


class Recovering:
    """The verb, bound to one state database, one spool, and whoever can say which workers answer."""

    def __init__(
        self, database: Database, settings: Settings, workers: Callable[[], Mapping[str, frozenset[str]]]
    ) -> None:
        self._database = database
        self._settings = settings
        self._workers = workers

    def recover(self, *, force: bool = False, dry_run: bool = False, pause_all: bool = False) -> Recovery:
        """Hold every run that was open when the backup was made, in one transaction; safe to repeat.

        Raises:
            StillAtWork: a beat ticks or a worker answers, or that cannot be told; not with ``force`` or ``dry_run``.
            StoreUnavailable: the state database does not answer.
            ServiceUnavailable: its schema is not this version's: a backup of an earlier release is migrated first.
        """
        self._database.require_current_schema()
        if not force and not dry_run:
            self._require_silence()
        spool, seen = self._spool()
        with self._database.transaction() as connection:
            backup_at = recovering.known_until(connection)
            found = recovering.open_runs(connection)
            files = {run.id: recovering.unfinished_files(connection, run.id) for run in found}
            rows = declared.list_pipelines(connection)
        restored = {run.id: _restored(run, files[run.id], spool) for run in found}
        unknown = None if spool is None else self._unknown_runs(spool)
        words = {run_id: self._question(one, backup_at) for run_id, one in restored.items()}
        paused: Sequence[str] = ()
        last = None
        if not dry_run:
            paused, last = self._hold(backup_at, words, [row for row in rows if pause_all])
        told = [(one, one.run.held_reason if _is_known(one.run) else words[run_id]) for run_id, one in restored.items()]
        return Recovery(
            is_dry_run=dry_run,
            backup_at=backup_at,
            runs=[(one, why or "") for one, why in told],
            pipelines=rows,
            paused=paused,
            spool=seen,
            unknown_runs=unknown,
            last_skipped=last,
        )

    def _require_silence(self) -> None:
        with self._database.transaction() as connection:
            ticking = [one.name for one in beats.ticking(connection) if one.silent <= _SILENT]
        if ticking:
            raise StillAtWork(
                f"beats tick: {', '.join(ticking)}; stop all beats and workers. If the backup was made within the last "
                f"minute, wait until {_SILENT.total_seconds():.0f} s have passed since, or say --force"
            )
        try:
            answering = sorted(self._workers())
        except BrokerUnavailable as error:
            raise StillAtWork(
                f"whether workers run cannot be told: {error}. Bring it back, empty if it must be, or make sure that "
                "none runs and say --force"
            ) from error
        if answering:
            raise StillAtWork(f"workers answer: {', '.join(answering)}; stop all of them and the beats, or say --force")

    def _spool(self) -> tuple[Spool | None, str]:
        """Give the workers' spool if it is seen from here, and say what was seen."""
        try:
            spool = Spool.open(spool_url(self._settings))
            own = spool.known_marker()
            with self._database.transaction() as connection:
                common = markers.find(connection, "spool")
        except SyncError as error:
            return None, f"does not answer: {error}"
        if own is None:
            return None, "is not seen from here, or empty; name it in WAREHOUSE_SYNC_SPOOL_URL"
        if own != common:
            return None, "is another one than that of the backup; if it is right, `warehouse-sync spool adopt` first"
        return spool, "is the one of the backup"

    def _unknown_runs(self, spool: Spool) -> Sequence[RunId]:
        there = sorted({folder.run_id for folder in spool.slice_folders()})
        with self._database.transaction() as connection:
            known = recovering.known_runs(connection, there)
        return [run_id for run_id in there if run_id not in known]

    def _question(self, restored: Restored, backup_at: datetime | None) -> str:
        return question(
            restored,
            backup_at=backup_at,
            now=datetime.now(UTC),
            remembered=timedelta(seconds=self._settings.doubt_max_s),
        )

    def _hold(
        self, backup_at: datetime | None, words: Mapping[RunId, str], to_pause: Sequence[PipelineRow]
    ) -> tuple[list[str], int]:
        def why(run: Run) -> str:
            """Give the question; for a run that came to be open meanwhile, without what the spool holds of it."""
            return words.get(run.id) or self._question(
                Restored(run, run.chunks_total - run.chunks_done, None), backup_at
            )

        paused: list[str] = []
        with self._database.transaction() as connection:
            recovering.hold_open(connection, why)
            for row in to_pause:
                if row.state is PipelineState.ACTIVE:
                    lives.pause(connection, row.pipeline.id)
                    paused.append(row.pipeline.id)
            return paused, recovering.skip_numbers(connection, since=backup_at)


def _restored(run: Run, files: Sequence[str], spool: Spool | None) -> Restored:
    return Restored(run, len(files), None if spool is None else len(spool.missing(files)))


def _is_known(run: Run) -> bool:
    """Say whether a run was held for this before: its question stays as it was asked."""
    return run.held_for is HeldFor.RESTORED
