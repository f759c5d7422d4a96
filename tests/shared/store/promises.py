"""What holds in the store between any two transactions, checked from outside of the code that keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from shared.run import STOPPED, WORKING, RunState, may_move
from tests.shared.store.stage import WINDOW_CHUNKS, Stage

ENDED = {RunState.SETTLED, RunState.ABANDONED} | STOPPED

RUNS = """
    SELECT runs.*,
        (SELECT count(*) FROM slices WHERE run_id = runs.id) AS slice_rows,
        (SELECT count(*) FROM slices WHERE run_id = runs.id AND state = 'published') AS published_rows,
        (SELECT coalesce(sum(rows_read), 0) FROM slices WHERE run_id = runs.id AND state = 'published') AS read_rows
    FROM runs ORDER BY created_at
"""
CHUNKS = "SELECT * FROM chunks ORDER BY id"
SLICES = "SELECT * FROM slices ORDER BY id"
COUNTED = "SELECT pipeline_id, lane, name, value FROM totals"
TO_BE_COUNTED = """
    SELECT pipeline_id, lane, name, sum(value)::bigint FROM (
        SELECT pipeline_id, lane, unnest('{extracted,accepted,rejected,unchanged,superseded,batches}'::text[]) AS name,
            unnest(ARRAY[extracted, accepted, rejected, unchanged, superseded, batches]) AS value FROM runs
        UNION ALL SELECT pipeline_id, lane, 'ended_' || name, 1 FROM run_events JOIN runs ON runs.id = run_id
            WHERE name IN ('settled', 'failed', 'cancelled', 'abandoned')
        UNION ALL SELECT pipeline_id, lane, 'attempts_upload_chunk', attempts FROM chunks JOIN runs ON runs.id = run_id
        UNION ALL SELECT pipeline_id, lane, 'chunks_done', 1 FROM chunks JOIN runs ON runs.id = run_id
            WHERE chunks.state = 'done'
        UNION ALL SELECT pipeline_id, lane, 'queue_ms', queue_ms FROM chunks JOIN runs ON runs.id = run_id
            WHERE chunks.state = 'done'
        UNION ALL SELECT pipeline_id, lane, 'run_ms', run_ms FROM chunks JOIN runs ON runs.id = run_id
            WHERE chunks.state = 'done'
    ) AS shown GROUP BY pipeline_id, lane, name HAVING sum(value) > 0
"""
PIPELINES = "SELECT id, generation, watermark, history_to, history_settled_to FROM pipelines ORDER BY id"


@dataclass
class Promises:
    """Compares the store with itself, and with how it was when last looked at."""

    stage: Stage
    states: dict[UUID, RunState] = field(default_factory=dict)
    positions: dict[UUID, tuple[int, str, int]] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    held: dict[UUID, set[UUID]] = field(default_factory=dict)
    """Held runs, and the tokens of those who were uploading chunks of them when last looked at."""
    decided: set[UUID] = field(default_factory=set)
    """Runs that an operator has said something about since they were held."""
    totals: Mapping[tuple[str, str, str], int] = field(default_factory=dict)

    def check(self) -> None:
        runs, chunks, slices = (self.stage.rows(query) for query in (RUNS, CHUNKS, SLICES))
        of_run: dict[UUID, list[Any]] = {run.id: [] for run in runs}
        for chunk in chunks:
            of_run[chunk.run_id].append(chunk)
        for run in runs:
            counters_are_what_the_rows_say(run, of_run[run.id])
            unsent_is_what_no_chunk_has_settled(run, of_run[run.id])
            a_run_that_is_worked_on_has_no_failed_chunk(run, of_run[run.id])
            no_more_than_a_window_is_under_way(of_run[run.id])
            self.only_legal_moves_were_made(run)
            self.only_an_operator_ends_a_hold_and_nothing_of_it_begins(run, of_run[run.id])
        who_works_has_a_token(chunks, "uploading")
        who_works_has_a_token(slices, "extracting")
        self.chunks_never_change_and_never_go_back(chunks)
        self.totals_only_grow_and_are_what_the_rows_say()
        for pipeline in self.stage.rows(PIPELINES):
            self.marks_never_go_back(pipeline)
            settled_windows_are_contiguous(pipeline, [run for run in runs if run.pipeline_id == pipeline.id])

    def only_legal_moves_were_made(self, run: Any) -> None:
        state = RunState(run.state)
        before = self.states.get(run.id, state)
        assert state is before or may_move(before, state), f"{before} -> {state}"
        self.states[run.id] = state

    def only_an_operator_ends_a_hold_and_nothing_of_it_begins(self, run: Any, chunks: Sequence[Any]) -> None:
        before = self.held.pop(run.id, None)
        if run.held_at is None:
            assert before is None or run.id in self.decided, "a hold that nobody ended"
            return
        at_work = {chunk.token for chunk in chunks if chunk.state == "uploading"}
        assert run.state == RunState.CANCELLED
        assert before is None or at_work <= before, "a chunk of a held run was claimed"
        if before is None:
            self.decided.discard(run.id)
        self.held[run.id] = at_work

    def chunks_never_change_and_never_go_back(self, chunks: Sequence[Any]) -> None:
        for chunk in chunks:
            position, path, rows = self.positions.get(chunk.id, (0, chunk.path, chunk.rows))
            assert chunk.position >= position
            assert (chunk.path, chunk.rows) == (path, rows)
            self.positions[chunk.id] = (chunk.position, path, rows)
        assert self.positions.keys() == {chunk.id for chunk in chunks}

    def totals_only_grow_and_are_what_the_rows_say(self) -> None:
        found = {(row.pipeline_id, row.lane, row.name): row.value for row in self.stage.rows(COUNTED)}
        for key, value in self.totals.items():
            assert found[key] >= value
        self.totals = found
        shown = {(pipeline, lane, name): value for pipeline, lane, name, value in self.stage.rows(TO_BE_COUNTED)}
        done = {"queue": 0, "run": 0}
        for (_, _, name), value in found.items():
            what, _, bound = name.partition("_le_")
            done |= {what: done[what] + value} if bound else {}
        assert set(done.values()) == {sum(value for (*_, name), value in shown.items() if name == "chunks_done")}
        uncheckable = ("_le_", "expired_", "attempts_plan_run", "attempts_extract_slice")
        told = {key: value for key, value in found.items() if not any(part in key[2] for part in uncheckable)}
        assert told == {key: value for key, value in shown.items() if key[2] != "chunks_done"}

    def marks_never_go_back(self, pipeline: Any) -> None:
        now: Mapping[str, Any] = pipeline._mapping
        for mark in ("watermark", "history_to", "history_settled_to"):
            before = self.marks.get(f"{pipeline.id}.{mark}")
            assert before is None or now[mark] >= before
            self.marks[f"{pipeline.id}.{mark}"] = now[mark]


def counters_are_what_the_rows_say(run: Any, chunks: Sequence[Any]) -> None:
    assert run.slices_total == run.slice_rows
    assert run.slices_published == run.published_rows
    assert run.chunks_total == len(chunks)
    assert run.chunks_done == sum(chunk.state == "done" for chunk in chunks)
    assert run.extracted == run.read_rows == sum(chunk.rows for chunk in chunks)
    assert run.accepted == sum(chunk.accepted for chunk in chunks)
    assert run.rejected == sum(chunk.rejected for chunk in chunks)


def unsent_is_what_no_chunk_has_settled(run: Any, chunks: Sequence[Any]) -> None:
    if run.state in ENDED:
        assert run.unsent == sum(chunk.rows - chunk.position for chunk in chunks)
        assert run.extracted == run.accepted + run.rejected + run.unsent
    else:
        assert run.unsent == 0
    if run.state == RunState.SETTLED:
        assert run.extracted == run.accepted + run.rejected


def a_run_that_is_worked_on_has_no_failed_chunk(run: Any, chunks: Sequence[Any]) -> None:
    if run.state in WORKING:
        assert all(chunk.state != "failed" for chunk in chunks)


def no_more_than_a_window_is_under_way(chunks: Sequence[Any]) -> None:
    under_way = [c for c in chunks if c.state == "uploading" or (c.state == "ready" and c.sent_at is not None)]
    assert len(under_way) <= WINDOW_CHUNKS


def who_works_has_a_token(rows: Sequence[Any], working: str) -> None:
    for row in rows:
        assert (row.state == working) == (row.token is not None) == (row.lease_until is not None)


def settled_windows_are_contiguous(pipeline: Any, runs: Sequence[Any]) -> None:
    """Every instant from T0 to the watermark is in exactly one settled window."""
    stands = pipeline.history_to
    settled = [run for run in runs if run.state == RunState.SETTLED and run.lane == "live"]
    for run in sorted(settled, key=lambda run: (run.low, run.high)):
        assert run.low == stands
        stands = run.high
    assert pipeline.watermark == stands
    history_is_settled_up_to_where_it_says(pipeline, runs)


def history_is_settled_up_to_where_it_says(pipeline: Any, runs: Sequence[Any]) -> None:
    """Every instant up to the mark, and whatever has no time, is in exactly one settled part of the initial sync."""
    settled = [run for run in runs if run.state == RunState.SETTLED and run.kind == "initial"]
    in_order = sorted(settled, key=lambda run: run.high)
    assert all(before.high <= after.low for before, after in pairwise(in_order)), "parts overlap"
    if pipeline.history_settled_to is None:
        return
    below = [run for run in in_order if run.high <= pipeline.history_settled_to]
    assert below[0].low is None
    assert all(before.high == after.low for before, after in pairwise(below)), "a gap below the mark"
    assert below[-1].high == pipeline.history_settled_to
