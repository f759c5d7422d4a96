"""Facts that all processes must agree on."""

import threading
from concurrent.futures import ThreadPoolExecutor

from shared.store import markers
from tests.shared.store.stage import Stage


def agree(stage: Stage, own: str, name: str = "spool") -> str:
    with stage.database.transaction() as connection:
        return markers.agree(connection, name, own)


def test_the_first_who_asks_decides(stage: Stage) -> None:
    assert agree(stage, "a") == "a"
    assert agree(stage, "b") == "a"
    assert agree(stage, "b", "another") == "b"


def test_all_who_ask_at_once_are_told_the_same(stage: Stage) -> None:
    at_once = 8
    ready = threading.Barrier(at_once)

    def ask(own: str) -> str:
        ready.wait()
        return agree(stage, own)

    with ThreadPoolExecutor(at_once) as pool:
        told = set(pool.map(ask, map(str, range(at_once))))
    assert len(told) == 1


def test_an_operator_may_decide_otherwise(stage: Stage) -> None:
    agree(stage, "a")
    with stage.database.transaction() as connection:
        markers.replace(connection, "spool", "b")
        markers.replace(connection, "new", "c")
    assert agree(stage, "a") == "b"
    assert agree(stage, "a", "new") == "c"
