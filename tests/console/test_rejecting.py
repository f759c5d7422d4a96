"""Rejected rows as an operator sees them: counted, shown without secrets, saved with them, purged."""

import json
import stat
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from console.cli import app
from console.operations import Operations
from console.saved import Format
from sandbox.services import Services
from shared.columns import JSON
from shared.errors import ColumnMissing, DeclarationInvalid, MoveNotAllowed, NotFound, SpoolUnavailable
from shared.ledger import RejectCode
from shared.rejects import MASK
from shared.settings import Settings, settings
from shared.spool import Spool
from shared.store import rejects
from shared.store.tables import runs
from tests.rejected import Rejected
from tests.shared.store.stage import Stage

PEOPLE = pa.table(
    {
        "Customer_Id": ["a", "b", "c", None],
        "age": [1, 2, None, 4],
        "traits": pa.array(['{"vip": true}', None, "[1]", "x"], JSON),
    }
)
CODES = {0: RejectCode.NO_IDENTITY, 1: RejectCode.VALUE_TOO_LONG, 3: RejectCode.NO_IDENTITY}


@pytest.fixture
def operations(
    services: Services, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operations]:
    given = {
        "DATABASE_URL": stage.database.url.render_as_string(hide_password=False),
        "BROKER_URL": services.broker_url,
        "SPOOL_URL": (tmp_path / "spool").as_uri(),
        "HOME": str(tmp_path),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"WAREHOUSE_SYNC_{name}", value)
    settings.cache_clear()
    opened = Operations(Settings())
    yield opened
    opened.close()
    settings.cache_clear()


@pytest.fixture
def rejected(operations: Operations, stage: Stage, tmp_path: Path) -> Rejected:
    operations.check_store()
    spool = Spool.open(str(tmp_path / "spool"))
    spool.marker()
    return Rejected(stage.database, spool)


def command(*arguments: str, given: str | None = None) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, input=given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_rows_are_counted_by_code_and_shown_with_their_values(rejected: Rejected, operations: Operations) -> None:
    run_id = rejected.run((PEOPLE, CODES), (PEOPLE, {2: RejectCode.NO_IDENTITY}))
    found = operations.rejects.of(run_id)
    assert found.counts == {"no_identity": 3, "value_too_long": 1}
    assert found.left == 4
    rows = operations.rejects.rows(run_id, RejectCode.NO_IDENTITY, limit=2)
    assert [(row.code, row.reason) for row in rows] == [
        ("no_identity", "row 0 is refused"),
        ("no_identity", "row 3 is refused"),
    ]
    shown = json.loads(command("rejects", str(run_id)[:8], "--json"))
    assert shown["counts"] == {"no_identity": 3, "value_too_long": 1}
    assert shown["rows"][0]["values"] == {"Customer_Id": "a", "age": 1, "traits": {"vip": True}}
    assert shown["rows"][2]["values"] == {"Customer_Id": None, "age": 4, "traits": "x"}
    told = command("rejects", str(run_id), "--code", "value_too_long")
    assert "value_too_long: row 1 is refused" in told
    assert "Customer_Id=b, age=2" in told
    assert "4 can be sent anew" in told


def test_secret_columns_are_masked_where_rows_are_shown_and_not_where_they_are_saved(
    rejected: Rejected, operations: Operations, tmp_path: Path
) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    rejected.keep_secret("customer_id", "traits")
    first, _, last = operations.rejects.rows(run_id, limit=9)
    assert first.values == {"Customer_Id": MASK, "age": 1, "traits": MASK}
    assert last.values["Customer_Id"] is None, "that there is none is no secret"
    real, hidden = tmp_path / "real.jsonl", tmp_path / "hidden.parquet"
    assert "real values" in command("rejects", str(run_id), "--to", str(real))
    lines = [json.loads(line) for line in real.read_text().splitlines()]
    assert [line["Customer_Id"] for line in lines] == ["a", "b", None]
    assert lines[0]["warehouse_sync_code"] == "no_identity"
    assert "masked" in command("rejects", str(run_id), "--to", str(hidden), "--masked")
    assert pa.parquet.read_table(hidden)["Customer_Id"].to_pylist() == [MASK, MASK, None]


def test_what_was_secret_when_rows_were_read_stays_hidden_when_the_model_is_edited(
    rejected: Rejected, operations: Operations, stage: Stage
) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    with stage.database.transaction() as connection:
        connection.execute(
            sa.update(runs).where(runs.c.id == run_id).values(snapshot={"secret_columns": ["customer_id"]})
        )
    rejected.keep_secret("traits")
    first = operations.rejects.rows(run_id, limit=1)[0]
    assert first.values == {"Customer_Id": MASK, "age": 1, "traits": MASK}


def test_somebodys_rows_are_purged_from_every_run_whatever_the_case_of_the_column(
    rejected: Rejected, operations: Operations
) -> None:
    run_ids = [rejected.run((PEOPLE, CODES)) for _ in range(2)]
    other = rejected.run((PEOPLE, CODES), pipeline_id="others")
    told = command("purge-rejects", "people", "--column", "CUSTOMER_ID", "--value", "-", given="a\n")
    assert "2 rejected rows of 2 runs were removed" in told
    assert "3 runs" not in told
    assert [operations.rejects.of(run_id).purged for run_id in (*run_ids, other)] == [1, 1, 0]
    assert "1 were purged" in command("rejects", str(run_ids[0]))
    assert operations.rejects.of(run_ids[0]).left == 2
    assert "1 rejected rows of 1 runs" in command("purge-rejects", "--all-pipelines", "--column", "age", "--value", "1")


def test_a_purge_says_which_runs_may_still_hold_rows_in_their_chunks(
    rejected: Rejected, operations: Operations
) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    assert operations.rejects.purge(None, "customer_id", "a").in_spool == {run_id: rejected.stage.run(run_id).number}
    rejected.stage.write("UPDATE runs SET spool_freed_at = now()")
    assert operations.rejects.purge(None, "customer_id", "a").in_spool == {}


def test_a_column_that_no_row_has_is_refused_and_the_nearest_named(rejected: Rejected, operations: Operations) -> None:
    rejected.run((PEOPLE, CODES))
    with pytest.raises(ColumnMissing, match="did you mean 'Customer_Id'"):
        operations.rejects.purge(["people"], "customer_idd", "a")
    with pytest.raises(NotFound, match="no pipeline 'nobody'"):
        operations.rejects.purge(["nobody"], "customer_id", "a")


def test_rows_whose_retention_has_ended_are_missed_and_said_so(rejected: Rejected, tmp_path: Path) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    with rejected.database.transaction() as connection:
        rejects.expire(connection, retention_s=-1)
    told = command("rejects", str(run_id))
    assert "3 were removed: their retention has ended" in told
    with pytest.raises(NotFound, match="no rejected rows to save"):
        command("rejects", str(run_id), "--to", str(tmp_path / "r.csv"))


def test_a_spool_that_is_not_the_workers_is_told_from_one_that_is_not_there(
    rejected: Rejected, operations: Operations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_id = rejected.run((PEOPLE, CODES))

    def look(url: str) -> None:
        monkeypatch.setenv("WAREHOUSE_SYNC_SPOOL_URL", url)
        settings.cache_clear()
        command("rejects", str(run_id))

    with pytest.raises(SpoolUnavailable, match="is it mounted"):
        look((tmp_path / "nothing").as_uri())
    Spool.open(str(tmp_path / "another")).marker()
    with pytest.raises(NotFound, match="WAREHOUSE_SYNC_SPOOL_URL"):
        look((tmp_path / "another").as_uri())
    assert operations.rejects.rows(run_id, limit=9)


@pytest.mark.usefixtures("operations")
def test_a_wrong_file_name_is_refused_before_anything_is_read() -> None:
    with pytest.raises(DeclarationInvalid, match=r"\.csv, \.parquet, \.jsonl"):
        command("rejects", str(uuid4()), "--to", "rejects.txt")


def test_a_replay_is_asked_for_by_its_runs_beginning(rejected: Rejected, operations: Operations) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    told = command("replay", str(run_id)[:8], "--code", "no_identity", "--yes")
    assert "is on its way" in told
    found = operations.rejects.of(run_id)
    assert (found.left, len(found.replays)) == (1, 1)


def test_a_stopped_replay_holds_no_window_and_says_so(rejected: Rejected, operations: Operations) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    (replay_id,) = operations.rejects.replay(run_id)
    operations.cancel(replay_id)
    assert f"people has a cancelled replay {operations.run(replay_id).number}" in command("pipelines")
    told = command("abandon", str(replay_id), "--yes")
    assert "0 accepted rows will be sent again by the next replay of the rows that it took" in told
    assert operations.rejects.of(run_id).left == 3


def test_who_accepts_the_rejected_rows_says_so_when_retrying(rejected: Rejected, operations: Operations) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    with pytest.raises(MoveNotAllowed, match="is settled"):
        command("retry", str(run_id), "--accept-rejects")
    rejected.stage.write("UPDATE runs SET state = 'failed', error_kind = 'TooManyRejected', error = 'too many'")
    with pytest.raises(MoveNotAllowed, match="Retrying it alone changes nothing"):
        command("retry", str(run_id))
    assert "is on its way" in command("retry", str(run_id), "--accept-rejects")
    assert operations.run(run_id).accepts_rejects


@pytest.mark.parametrize("kind", list(Format))
def test_a_file_that_is_saved_is_what_the_api_gives_to_download(
    rejected: Rejected, operations: Operations, tmp_path: Path, kind: Format
) -> None:
    run_id = rejected.run((PEOPLE, CODES), (PEOPLE, {2: RejectCode.NO_IDENTITY}))
    path = tmp_path / f"rejects.{kind}"
    assert "3 rejected rows" in command("rejects", str(run_id), "--to", str(path), "--code", "no_identity")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    downloaded = BytesIO()
    assert operations.rejects.save(run_id, downloaded, kind, RejectCode.NO_IDENTITY, is_masked=False) == 3
    assert path.read_bytes() == downloaded.getvalue()


def test_a_download_that_is_refused_leaves_no_file(rejected: Rejected, tmp_path: Path) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    with pytest.raises(NotFound, match="of code invalid_ip to save"):
        command("rejects", str(run_id), "--to", str(tmp_path / "none.csv"), "--code", "invalid_ip")
    assert not [one.name for one in tmp_path.iterdir() if "none.csv" in one.name]
