"""How results are read: through the Storage API or by listing, over connections that break, and from where it stood."""

import pytest

from shared.errors import ResultExpired, RightsMissing, WarehouseBusy
from shared.run import Position, Window
from shared.sql import Query, windowed
from tests.standins.bigquery import BigQueryStandin
from tests.warehouses.bigquery.conftest import Opened
from tests.warehouses.bigquery.proxy import breaking
from worker.warehouses.base import Warehouse
from worker.warehouses.bigquery import rows, run

ROWS = 100_000
NUMBERS = "SELECT id, 'some text to fill the wire' AS text FROM UNNEST(GENERATE_ARRAY(0, 99999)) AS id"
QUERY = windowed(NUMBERS, dialect="bigquery", iterator=None, window=Window())


def ids(opened: Warehouse, query: Query = QUERY, position: Position | None = None) -> list[int]:
    with opened.stream(query, batch_rows=5000, position=position) as stream:
        return [value for batch in stream for value in batch.column("id").to_pylist()]


def begun(opened: Warehouse, batches: int) -> tuple[list[int], Position]:
    """Read some batches and leave."""
    read: list[int] = []
    position: Position | None = None
    with opened.stream(QUERY, batch_rows=5000) as stream:
        for batch, _ in zip(stream, range(batches), strict=False):
            read += batch.column("id").to_pylist()
            position = stream.position
    assert position is not None
    return read, position


def test_an_account_without_the_storage_right_lists_its_rows(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened("slow-reader") as one:
        with one.stream(QUERY, batch_rows=5000) as stream:
            read = [value for batch in stream for value in batch.column("id").to_pylist()]
            assert stream.start is not None
            assert "stream" not in stream.start
        assert sorted(read) == list(range(ROWS))
    told = capsys.readouterr().out
    assert "bigquery_storage_refused" in told
    assert "bigquery.readsessions.create" in told


def test_a_listed_result_is_continued_by_listing(opened: Opened) -> None:
    with opened("slow-reader") as one:
        read, position = begun(one, 3)
    with opened("slow-reader") as another:
        assert sorted(read + ids(another, position=position)) == list(range(ROWS))


def test_a_connection_that_breaks_is_mended_without_losing_or_repeating_a_row(
    opened: Opened, standin: BigQueryStandin
) -> None:
    with (
        breaking(standin.storage_address, cuts=2, after_bytes=1_500_000) as wire,
        opened(storage_endpoint=wire.address) as one,
    ):
        assert ids(one) == list(range(ROWS))
        assert wire.connections == 3


def test_a_connection_that_stays_broken_is_tried_again_later(
    opened: Opened, standin: BigQueryStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rows, run):
        monkeypatch.setattr(module, "RETRY", rows.RETRY.with_timeout(0.5).with_delay(0.05))
    with (
        breaking(standin.storage_address, cuts=1000, after_bytes=20_000) as wire,
        opened(storage_endpoint=wire.address) as one,
        pytest.raises(WarehouseBusy),
    ):
        ids(one)


@pytest.mark.parametrize("forgotten", ["sessions", "results"])
def test_a_result_that_time_took_is_expired(opened: Opened, standin: BigQueryStandin, forgotten: str) -> None:
    with opened() as one:
        _, position = begun(one, 3)
    standin.forget(forgotten)
    with opened() as another, pytest.raises(ResultExpired, match="start the run over"):
        ids(another, position=position)


def test_a_listed_result_that_time_took_is_expired(opened: Opened, standin: BigQueryStandin) -> None:
    with opened("slow-reader") as one:
        _, position = begun(one, 1)
        standin.forget("results")
        with pytest.raises(ResultExpired):
            ids(one, position=position)


def test_a_token_that_google_forgot_is_renewed(opened: Opened, standin: BigQueryStandin) -> None:
    with opened() as one:
        standin.forget("tokens")
        assert len(ids(one)) == ROWS


def test_an_account_that_may_not_run_jobs_is_told_the_right(opened: Opened) -> None:
    with opened("nobody") as one, pytest.raises(RightsMissing, match=r"bigquery\.jobs\.create"):
        ids(one)


def test_leaving_early_leaves_no_job_running(opened: Opened, standin: BigQueryStandin) -> None:
    with opened() as one:
        begun(one, 1)
    assert standin.running_queries() == 0
