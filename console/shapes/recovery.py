"""What a recovery came to. Ours alone."""

from typing import Self
from uuid import UUID

from pydantic import Field

from console.recovering import Recovery
from console.recovery import Ways
from console.shapes.bounds import Bound
from console.shapes.ground import Instant, Shape
from shared.run import Lane, PipelineState, RunKind, RunState


class RestoredRunShape(Shape):
    """A run that was open when the backup was made."""

    id: UUID
    number: int
    pipeline_id: str
    kind: RunKind
    lane: Lane
    state: RunState = Field(description="in the backup")
    extracted: int
    accepted: int
    unfinished_chunks: int
    missing_chunks: int | None = Field(description="of those, how many the spool has not; null: it was not seen")
    ways: Ways
    held_reason: str


class RestoredPipelineShape(Shape):
    """Where a pipeline stands in the backup: its next run reads from the watermark."""

    id: str
    state: PipelineState
    watermark: Bound | None
    is_held: bool = Field(description="or would be, where `is_dry_run`")


class RecoveryShape(Shape):
    """What a restored store knows, and what was held."""

    is_dry_run: bool
    at_work: str | None = Field(description="of a dry run: who may still read or send, so that it is no store at rest")
    backup_at: Instant | None = Field(description="the newest instant that the store knows")
    runs: tuple[RestoredRunShape, ...]
    pipelines: tuple[RestoredPipelineShape, ...]
    paused: tuple[str, ...]
    spool: str = Field(description="what was seen of it from here")
    unknown_runs: tuple[UUID, ...] | None = Field(description="have chunks in the spool, and no row in the store")
    last_skipped: int | None = Field(description="numbers of runs up to this one are not given any more")

    @classmethod
    def of(cls, found: Recovery) -> Self:
        """Give a recovery's shape."""
        held = {one.run.pipeline_id for one, _ in found.runs}
        return cls(
            is_dry_run=found.is_dry_run,
            at_work=found.at_work,
            backup_at=found.backup_at,
            runs=tuple(
                RestoredRunShape(
                    id=one.run.id,
                    number=one.run.number,
                    pipeline_id=one.run.pipeline_id,
                    kind=one.run.kind,
                    lane=one.run.lane,
                    state=one.run.state,
                    extracted=one.run.ledger.extracted,
                    accepted=one.run.ledger.accepted,
                    unfinished_chunks=one.unfinished,
                    missing_chunks=one.missing,
                    ways=one.ways,
                    held_reason=why,
                )
                for one, why in found.runs
            ),
            pipelines=tuple(
                RestoredPipelineShape(
                    id=row.pipeline.id,
                    state=PipelineState.PAUSED if row.pipeline.id in found.paused else row.state,
                    watermark=row.standing.watermark,
                    is_held=row.pipeline.id in held,
                )
                for row in found.pipelines
            ),
            paused=tuple(found.paused),
            spool=found.spool,
            unknown_runs=None if found.unknown_runs is None else tuple(found.unknown_runs),
            last_skipped=found.last_skipped,
        )
