"""Log lines are one shape, carry the ids of the work at hand, and lose them when it ends."""

import json
import logging
import threading

import pytest

from shared.telemetry import bind, bound, configure_logs, log, with_ids


@pytest.fixture(autouse=True)
def _as_before() -> object:
    """Leave the root logger as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def _lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.readouterr().err.splitlines()]


def test_ours_and_celerys_lines_have_one_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    log("ours").info("run_settled", rows=5)
    logging.getLogger("celery.worker").warning("connection lost")
    ours, celerys = _lines(capsys)
    assert (ours["event"], ours["rows"], ours["level"], ours["logger"]) == ("run_settled", 5, "info", "ours")
    assert (celerys["event"], celerys["level"], celerys["logger"]) == ("connection lost", "warning", "celery.worker")
    assert str(ours["timestamp"]).endswith("Z")


def test_bound_ids_are_in_every_line_of_the_block_and_none_after(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    with bound(run_id="r1"), bound(chunk_no=3):
        log("ours").info("chunk_uploaded")
    log("ours").info("idle")
    inside, outside = _lines(capsys)
    assert (inside["run_id"], inside["chunk_no"]) == ("r1", 3)
    assert "run_id" not in outside


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("two\nlines")

    configure_logs("json")
    try:
        fail()
    except ValueError:
        logging.getLogger("celery").exception("task failed")
        log("ours").exception("task_failed")
    for line in _lines(capsys):
        assert "ValueError: two\nlines" in str(line["exception"])


def test_configuring_again_neither_doubles_lines_nor_loses_them(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    configure_logs("json")
    log("ours").info("once")
    logging.getLogger("theirs").info("once")
    assert [line["event"] for line in _lines(capsys)] == ["once", "once"]


def test_without_a_terminal_auto_is_json_and_columns_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("auto")
    log("ours").info("run_settled", rows=5)
    assert _lines(capsys)[0]["rows"] == 5
    configure_logs("columns")
    log("ours").info("run_settled", rows=5)
    line = capsys.readouterr().err
    assert "run_settled" in line
    assert not line.startswith("{")


def test_debug_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    log("ours").debug("detail")
    logging.getLogger("theirs").debug("detail")
    assert _lines(capsys) == []


def test_ids_that_become_known_inside_a_block_are_gone_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    with bound(run_id="r1"):
        with bound(chunk_no=3):
            bind(pipeline_id="p1", run_id="r2")
            log("ours").info("known")
        log("ours").info("later")
    known, later = _lines(capsys)
    assert (known["run_id"], known["pipeline_id"], known["chunk_no"]) == ("r2", "p1", 3)
    assert later["run_id"] == "r1"
    assert {"pipeline_id", "chunk_no"}.isdisjoint(later)


def test_a_thread_has_the_ids_of_whoever_started_it_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    with bound(run_id="r1"):
        for work in (lambda: log("ours").info("without"), with_ids(lambda: log("ours").info("with"))):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    without, told = _lines(capsys)
    assert "run_id" not in without
    assert told["run_id"] == "r1"
