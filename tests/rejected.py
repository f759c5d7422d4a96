"""Settled runs with rejected rows in a real spool, made without a worker."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from shared.catalog import DataModel
from shared.ledger import Progress, Reject, RejectCode
from shared.run import ChunkId, RunId
from shared.spool import Spool
from shared.store import chunks, declared
from shared.store.database import Database
from shared.store.declared_tables import data_models
from tests.shared.store.stage import LEASE_S, Stage
from worker.rejects import reject_table


@dataclass(frozen=True)
class Rejected:
    """One database and one spool."""

    database: Database
    spool: Spool

    @property
    def stage(self) -> Stage:
        return Stage(self.database)

    def run(self, *files: tuple[pa.Table, Mapping[int, RejectCode]], pipeline_id: str = "people") -> RunId:
        """Take a run to its end, of whose chunks some rows were rejected, by their positions."""
        stage = self.stage
        stage.declare(pipeline_id)
        run_id = stage.started(pipeline_id)
        (slice_id,) = stage.plan(run_id)
        chunk_ids = stage.extract(slice_id, [table.num_rows for table, _ in files])
        for chunk_id, (table, codes) in zip(chunk_ids, files, strict=True):
            self._reject(run_id, chunk_id, table, codes)
        assert stage.settle(run_id)
        return run_id

    def _reject(self, run_id: RunId, chunk_id: ChunkId, table: pa.Table, codes: Mapping[int, RejectCode]) -> None:
        held = self.stage.held(chunk_id)
        rejects = tuple(Reject(row, code, f"row {row} is refused") for row, code in codes.items())
        file = self.spool.write_rejects(
            reject_table(table, rejects), run_id=run_id, chunk_id=chunk_id, token=held.token, part=1
        )
        progress = Progress(table.num_rows, table.num_rows - len(rejects), rejects)
        with self.database.transaction() as connection:
            chunks.record(connection, held.chunk, held.token, progress, lease_s=LEASE_S, rejects=file)
        self.stage.finish(held)

    def keep_secret(self, *columns: str) -> None:
        """Declare columns of every model to be secret."""
        with self.database.transaction() as connection:
            for model_id in connection.scalars(sa.select(data_models.c.id)).all():
                model = declared.get(connection, DataModel, model_id)
                declared.put(connection, model.model_copy(update={"secret_columns": columns}))
