"""The verb for when PostgreSQL was restored from a backup: hold what was open, and say what is known of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from console.recovery import Restored, Since, question
from shared import broker
from shared.endpoints import known_broker_url, known_database_url, spool_url
from shared.errors import BrokerUnavailable, ServiceUnavailable, StillAtWork, SyncError
from shared.run import HeldFor, PipelineState, Run, RunId
from shared.settings import Settings
from shared.spool import Spool
from shared.store import beats, declared, lives, markers, recovering
from shared.store.beats import SILENT_AFTER
from shared.store.database import Database
from shared.store.declared import PipelineRow


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a restored store knows, and what became of it; ``runs`` are held, or would be where ``is_dry_run``.

    ``at_work`` is why a dry run would have been refused otherwise: then ``backup_at`` may be no backup's.

    ``unknown_runs`` have chunks in the spool and were begun after the backup; ``None`` where the spool is not seen from
    here, and ``spool`` says why. Numbers of runs up to ``last_skipped`` are never given.
    """

    is_dry_run: bool
    at_work: str | None
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

        While runs are held for it, repeating tells the instant of the first time: what happens since does not make the
        backup seem later. A dry run looks for beats and workers, too, and tells of them instead of refusing.

        Raises:
            StillAtWork: a beat ticks or a worker answers, or that cannot be told; not with ``force`` or ``dry_run``.
            StoreUnavailable: the state database does not answer.
            ServiceUnavailable: its schema is not this version's: a backup of an earlier release is migrated first.
        """
        self._database.require_current_schema()
        at_work = None if force else self._at_work()
        if at_work is not None and not dry_run:
            raise StillAtWork(f"{at_work.found}; {at_work.cure}")
        spool, seen = self._spool()
        with self._database.transaction() as connection:
            known_until = recovering.known_until(connection)
            found = recovering.open_runs(connection)
            before = recovering.remembered_as_of(connection) if any(map(_is_known, found)) else None
            decided = recovering.held_before(connection, [run.id for run in found])
            files = {run.id: recovering.unfinished_files(connection, run.id) for run in found}
            rows = declared.list_pipelines(connection)
        backup_at = before or known_until
        since = {run.id: _since(run, before, decided) for run in found}
        restored = {run.id: _restored(run, files[run.id], spool, since[run.id]) for run in found}
        unknown = None if spool is None else self._unknown_runs(spool)
        words = {run_id: self._question(one, backup_at) for run_id, one in restored.items()}
        paused: Sequence[str] = ()
        last = None
        if not dry_run:
            to_pause = [row for row in rows if pause_all and row.state is PipelineState.ACTIVE]
            paused, last = self._hold(backup_at, known_until, words, to_pause)
        told = [(one, one.run.held_reason if _is_known(one.run) else words[run_id]) for run_id, one in restored.items()]
        return Recovery(
            is_dry_run=dry_run,
            at_work=None if at_work is None else at_work.told,
            backup_at=backup_at,
            runs=[(one, why or "") for one, why in told],
            pipelines=rows,
            paused=paused,
            spool=seen,
            unknown_runs=unknown,
            last_skipped=last,
        )

    def _at_work(self) -> "_AtWork | None":
        with self._database.transaction() as connection:
            ticking = [one.name for one in beats.ticking(connection) if not one.is_silent]
        if ticking:
            return _AtWork(
                f"beats tick: {', '.join(ticking)}",
                "stop all beats and workers. If the backup was made within the last minute, wait until "
                f"{SILENT_AFTER.total_seconds():.0f} s have passed since, or say --force",
            )
        try:
            answering = sorted(self._workers())
        except BrokerUnavailable as error:
            return _AtWork(
                f"whether workers run cannot be told: {error}",
                "bring it back, empty if it must be, or make sure that none runs and say --force",
                is_certain=False,
            )
        if answering:
            return _AtWork(f"workers answer: {', '.join(answering)}", "stop all of them and the beats, or say --force")
        return None

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
        self,
        backup_at: datetime | None,
        known_until: datetime | None,
        words: Mapping[RunId, str],
        to_pause: Sequence[PipelineRow],
    ) -> tuple[list[str], int]:
        def why(run: Run) -> str:
            """Give the question; for a run that came to be open meanwhile, without what the spool holds of it."""
            return words.get(run.id) or self._question(
                Restored(run, run.chunks_total - run.chunks_done, None), backup_at
            )

        with self._database.transaction() as connection:
            recovering.hold_open(connection, why)
            if backup_at is not None:
                recovering.remember_as_of(connection, backup_at)
            for row in to_pause:
                lives.pause(connection, row.pipeline.id)
            # Not since the remembered instant: numbers given since the first time are known.
            last = recovering.skip_numbers(connection, since=known_until)
        return [row.pipeline.id for row in to_pause], last


@dataclass(frozen=True, slots=True)
class _AtWork:
    """Who may still read or send, and what to do about it; not ``is_certain`` where nobody could be asked."""

    found: str
    cure: str
    is_certain: bool = True

    @property
    def told(self) -> str:
        """Say it to whoever only looks."""
        return f"{self.found}; this is not a restored store at rest" if self.is_certain else self.found


@contextmanager
def recovering_as(actor: str, settings: Settings) -> Iterator[Recovering]:
    """Give the verb for a command's length; without a broker it works, too, and cannot ask for workers.

    Raises:
        ServiceUnavailable: no state database is known.
    """
    url = known_database_url(settings)
    if url is None:
        raise ServiceUnavailable("no PostgreSQL is known: set WAREHOUSE_SYNC_DATABASE_URL to the restored database")

    def workers() -> Mapping[str, frozenset[str]]:
        broker_url = known_broker_url(settings)
        if broker_url is None:
            raise BrokerUnavailable("no Redis or Valkey is known; set WAREHOUSE_SYNC_BROKER_URL")
        return broker.serving(broker.build_app(settings, broker_url=broker_url))

    database = Database(url, pool_size=1)
    try:
        yield Recovering(database.acting_as(actor), settings, workers)
    finally:
        database.close()


def _since(run: Run, before: datetime | None, decided: frozenset[RunId]) -> Since:
    if run.id in decided and not _is_known(run):
        return Since.DECIDED
    return Since.BEGUN if before is not None and run.created_at > before else Since.NOTHING


def _restored(run: Run, files: Sequence[str], spool: Spool | None, since: Since) -> Restored:
    return Restored(run, len(files), None if spool is None else len(spool.missing(files)), since)


def _is_known(run: Run) -> bool:
    """Say whether a run was held for this before: its question stays as it was asked."""
    return run.held_for is HeldFor.RESTORED
