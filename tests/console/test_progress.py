"""What an operator sees of runs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import uuid4

import pytest
from rich.console import Console

from console.api.run_answers import run_shape
from console.progress import run_table, show_found
from console.watching import SeenRun
from shared.ledger import Ledger
from shared.run import Lane, Run, RunId, RunKind, RunState, Window
from shared.store.work_times import WorkTime

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
    show_found(screen, run_shape(SeenRun(run)))
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


def listed(run: Run, work: WorkTime | None = None, *, width: int = 200) -> str:
    screen = Console(file=StringIO(), width=width)
    screen.print(run_table([run_shape(SeenRun(run, work=work))]))
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def test_no_number_is_cut_on_a_narrow_screen() -> None:
    written = listed(replace(RUN, ledger=Ledger(extracted=1_234_567, accepted=1_234_567)), width=70)
    assert str(RUN.id)[:8] in written
    assert "\u2026" not in written


def test_what_was_extracted_is_the_sum_of_what_a_list_shows() -> None:
    ledger = Ledger(extracted=60, accepted=10, rejected=20, unchanged=12, superseded=7, unsent=11)
    words = listed(replace(RUN, ledger=ledger)).split()
    assert words[words.index("state") + 1 : words.index("batches")] == [
        *("extracted", "accepted", "rejected", "unchanged", "superseded", "unsent")
    ]
    extracted, *ends = (int(word) for word in words[-9:-3])
    assert extracted == sum(ends) == 60
    assert "superseded" not in listed(replace(RUN, ledger=Ledger(extracted=30, accepted=10, rejected=20)))


def test_a_time_that_is_not_known_is_no_zero() -> None:
    assert listed(RUN).split()[-2] == "-"
    assert listed(RUN, WorkTime(timedelta(seconds=2), 1)).split()[-2] == "2.0"


@pytest.mark.parametrize(
    ("state", "stretches", "speed"),
    [
        (RunState.SETTLED, 1, 15.0),
        (RunState.SETTLED, 2, None),
        (RunState.FAILED, 1, None),
        (RunState.UPLOADING, 1, None),
    ],
)
def test_a_run_that_was_interrupted_has_no_speed(state: RunState, stretches: int, speed: float | None) -> None:
    run = replace(RUN, state=state, ledger=Ledger(extracted=30, accepted=10, rejected=20))
    assert run_shape(SeenRun(run, work=WorkTime(timedelta(seconds=2), stretches))).rows_per_s == speed
