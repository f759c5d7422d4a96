"""What an operator sees of runs."""

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from uuid import uuid4

from rich.console import Console

from console.api.run_answers import run_shape
from console.progress import run_table, show_found
from console.watching import SeenRun
from shared.run import Lane, Ledger, Run, RunId, RunKind, RunState, Window

RUN = Run(
    id=RunId(uuid4()),
    pipeline_id="people",
    generation=1,
    kind=RunKind.MANUAL,
    lane=Lane.LIVE,
    mode="full",
    state=RunState.SETTLED,
    logical_at=datetime(2024, 5, 1, tzinfo=UTC),
    window=Window(),
    snapshot=None,
    ledger=Ledger(),
    slices_total=0,
    slices_published=0,
    chunks_total=0,
    chunks_done=0,
    reopenings=0,
    error_kind=None,
    error=None,
    created_at=datetime(2024, 5, 1, tzinfo=UTC),
    started_at=None,
    ended_at=None,
)


def shown(run: Run) -> str:
    screen = Console(file=StringIO(), width=40)
    show_found(screen, run_shape(SeenRun(run, None)))
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def test_findings_are_shown_in_rows_the_most_first_and_are_no_markup() -> None:
    found = {"list_entry_truncated": 3, 'plan: custom_event "[red]": a[]: invalid_value (type)': 12_000}
    assert shown(replace(RUN, findings=found)) == (
        f'run {RUN.number} found, in rows: plan: custom_event "[red]": a[]: invalid_value (type) (12,000), '
        "list_entry_truncated (3)\n"
    )


def test_nothing_is_shown_where_nothing_was_found() -> None:
    assert shown(RUN) == ""


def test_no_number_is_cut_on_a_narrow_screen() -> None:
    million = replace(RUN, ledger=Ledger(extracted=1_234_567, accepted=1_234_567))
    screen = Console(file=StringIO(), width=70)
    screen.print(run_table([run_shape(SeenRun(million, None))]))
    assert isinstance(screen.file, StringIO)
    written = screen.file.getvalue()
    assert str(RUN.id)[:8] in written
    assert "\u2026" not in written
