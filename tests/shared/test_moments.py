"""Instants have one form for people and one for machines, and no module makes another."""

import ast
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import moments

ROOT = Path(__file__).parents[2]
PROCESSES = ("beat", "console", "sandbox", "shared", "worker")
OTHERS = {
    "console/exporting.py": "documents keep the zone that somebody declared",
    "console/frequency.py": "a time of day is no instant",
    "shared/moments.py": "here they are made",
    "worker/warehouses/redshift/bounds.py": "what Redshift's SQL takes",
}
INSTANTS = re.compile(r"(?:_at|_on|^(?:instant|watermark|track_from|read_to|until|since|low|high))$")
"""Names of fields that hold instants; other names hold one where they are declared to."""
UTC_INSTANTS = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("instant", "told", "exactly", "written", "written_exactly"),
    [
        (
            datetime(2026, 11, 30, 21, 5, 7, tzinfo=UTC),
            "2026-11-30 21:05:07 UTC",
            "2026-11-30 21:05:07 UTC",
            "2026-11-30T21:05:07.000Z",
            "2026-11-30T21:05:07.000Z",
        ),
        (
            datetime.fromisoformat("2026-11-30T22:05:07.123456+01:00"),
            "2026-11-30 21:05:07 UTC",
            "2026-11-30 21:05:07.123456 UTC",
            "2026-11-30T21:05:07.123Z",
            "2026-11-30T21:05:07.123456Z",
        ),
    ],
)
def test_an_instant_is_told_and_written_in_utc(
    instant: datetime, told: str, exactly: str, written: str, written_exactly: str
) -> None:
    assert (moments.told(instant), moments.told_exactly(instant)) == (told, exactly)
    assert (moments.written(instant), moments.written_exactly(instant)) == (written, written_exactly)


@given(UTC_INSTANTS, UTC_INSTANTS)
def test_both_forms_sort_as_the_instants_do(one: datetime, other: datetime) -> None:
    first, second = sorted((one, other))
    assert moments.told(first) <= moments.told(second)
    assert moments.written(first) <= moments.written(second)


@given(UTC_INSTANTS)
def test_what_is_written_exactly_is_read_as_it_was(instant: datetime) -> None:
    assert datetime.fromisoformat(moments.written_exactly(instant)) == instant
    assert timedelta() <= instant - datetime.fromisoformat(moments.written(instant)) < timedelta(milliseconds=1)


def _other_forms(tree: ast.AST) -> Iterator[int]:
    """Give the lines that make text of an instant: by a call, by a format, or by putting it into a string."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            given = (*function.args.args, *function.args.kwonlyargs)
            declared = {one.arg for one in given if one.annotation and "datetime" in ast.unparse(one.annotation)}
            yield from _forms(function, declared)


def _forms(function: ast.FunctionDef, declared: Collection[str]) -> Iterator[int]:
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="isoformat" | "strftime" | "ctime")):
                yield node.lineno
            case ast.Call(func=ast.Name(id="str"), args=[argument]) if _is_an_instant(argument, declared):
                yield node.lineno
            case ast.FormattedValue(format_spec=ast.JoinedStr() as spec) if re.search(r"%[a-zA-Z]", ast.unparse(spec)):
                yield node.lineno
            case ast.FormattedValue(value=value, format_spec=None) if _is_an_instant(value, declared):
                yield node.lineno


def _is_an_instant(value: ast.expr, declared: Collection[str]) -> bool:
    if isinstance(value, ast.Name):
        return value.id in declared
    return isinstance(value, ast.Attribute) and INSTANTS.search(value.attr) is not None


@pytest.mark.parametrize(
    "form", ["{at}", "{run.window.low}", "{at:%H:%M}", "{at.isoformat()}", "{str(run.ended_at)}", "{at.strftime('%c')}"]
)
def test_another_form_would_be_found(form: str) -> None:
    assert list(_other_forms(ast.parse(f'def say(run: Run, at: datetime) -> str:\n    return f"{form}"'))) == [2]


@pytest.mark.parametrize("process", PROCESSES)
def test_no_other_module_makes_text_of_an_instant(process: str) -> None:
    files = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / process).rglob("*.py"))}
    found = {
        f"{name}:{line}"
        for name, path in files.items()
        if name not in OTHERS
        for line in _other_forms(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(), "use shared.moments"
