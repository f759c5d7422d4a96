"""Rejected rows over HTTP: counted for viewers, seen and downloaded by those who may, purged without a trace."""

import asyncio
import csv
import io
import json
import logging
from collections.abc import MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyarrow import parquet

from console.api import places
from console.operations import Operations
from shared.endpoints import spool_url
from shared.ledger import RejectCode
from shared.rejects import MASK
from shared.spool import Spool
from shared.store import rejects
from tests.console.api.conftest import HOST, WORKSPACE, Api
from tests.rejected import Rejected
from tests.shared.store.stage import Stage

LONG = "12345678901234567890.10"
PEOPLE = pa.table(
    {
        "email": ["a@planted.example", "b@planted.example", "c@planted.example", None],
        "score": pa.array([Decimal(LONG)] * 4, pa.decimal128(38, 2)),
    }
)
CODES = {0: RejectCode.NO_IDENTITY, 1: RejectCode.VALUE_TOO_LONG, 3: RejectCode.NO_IDENTITY}
FORMATS = ["csv", "parquet", "jsonl"]


@pytest.fixture
def rejected(stage: Stage, operations: Operations) -> Rejected:
    Path(operations.settings.home).mkdir(exist_ok=True)
    spool = Spool.open(spool_url(operations.settings))
    operations.adopt_spool()
    return Rejected(stage.database, spool)


def rows_of(content: bytes, kind: str) -> list[dict[str, Any]]:
    if kind == "parquet":
        return [{**row, "score": str(row["score"])} for row in parquet.read_table(io.BytesIO(content)).to_pylist()]
    if kind == "csv":
        return [{**row, "email": row["email"] or None} for row in csv.DictReader(io.StringIO(content.decode()))]
    return [{**row, "score": str(row["score"])} for row in map(_exactly, content.splitlines())]


def _exactly(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line, parse_float=Decimal)
    return found


def test_viewers_see_counts_and_no_row(rejected: Rejected, viewer: Api) -> None:
    run_id = rejected.run((PEOPLE, CODES), (PEOPLE, {2: RejectCode.NO_IDENTITY}))
    found = viewer.get(f"/runs/{rejected.stage.run(run_id).number}/rejects")
    assert found.json() == {
        "run_id": str(run_id),
        "number": rejected.stage.run(run_id).number,
        "pipeline_id": "people",
        "rejected": 4,
        "counts": {"no_identity": 3, "value_too_long": 1},
        "purged": 0,
        "removed": 0,
        "left_to_replay": 4,
        "left_by_code": {"no_identity": 3, "value_too_long": 1},
        "replays": [],
    }
    assert "planted" not in found.text
    for closed in ("rows", "download?format=csv"):
        assert viewer.get(f"/runs/{run_id}/rejects/{closed}").status_code == 403
    assert viewer.post(f"/runs/{run_id}/replay").status_code == 403
    assert viewer.get("/runs/zzz/rejects").status_code == 404


def test_rows_come_in_pages_with_every_digit_and_without_secrets(rejected: Rejected, operator: Api) -> None:
    run_id = rejected.run((PEOPLE, CODES), (PEOPLE, {2: RejectCode.NO_IDENTITY}))
    rejected.keep_secret("EMAIL")
    first = operator.get(f"/runs/{run_id}/rejects/rows", code="no_identity", limit=2)
    assert f'"score":{LONG}' in first.text
    assert [(row["reason"], row["values"]["email"]) for row in first.json()] == [
        ("row 0 is refused", MASK),
        ("row 3 is refused", None),
    ]
    following = first.links["next"]["url"].removeprefix("?")
    second = operator.send("GET", f"/runs/{run_id}/rejects/rows", params=following)
    assert [row["reason"] for row in second.json()] == ["row 2 is refused"]
    assert "Link" not in second.headers
    whole = operator.get(f"/runs/{run_id}/rejects/rows").json()
    assert [row["code"] for row in whole] == ["no_identity", "value_too_long", "no_identity", "no_identity"]
    assert operator.get(f"/runs/{run_id}/rejects/rows", code="nothing").status_code == 400


@pytest.mark.parametrize("kind", FORMATS)
def test_a_download_is_masked_unless_an_admin_asks_for_the_values(
    rejected: Rejected, operator: Api, admin: Api, kind: str
) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    rejected.keep_secret("email")
    path = f"/runs/{run_id}/rejects/download"
    masked = operator.get(path, format=kind)
    assert masked.status_code == 200, masked.text
    assert masked.headers["Warehouse-Sync-Rows"] == "3"
    assert f'filename="rejects-{rejected.stage.run(run_id).number}.{kind}"' in masked.headers["Content-Disposition"]
    assert [row["email"] for row in rows_of(masked.content, kind)] == [MASK, MASK, None]
    assert b"planted" not in masked.content
    refused = operator.get(path, format=kind, masked=False)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "RoleTooLow")
    real = rows_of(admin.get(path, format=kind, masked=False, code="no_identity").content, kind)
    assert [(row["email"], row["score"]) for row in real] == [("a@planted.example", LONG), (None, LONG)]
    (noted,) = rejected.stage.rows("SELECT actor, subject FROM audit WHERE action = 'downloaded'")
    assert tuple(noted) == ("some admin", f"people: run {rejected.stage.run(run_id).number}")


def test_what_cannot_be_downloaded_is_told_by_a_status(rejected: Rejected, operator: Api) -> None:
    run_id = rejected.run(
        (PEOPLE, CODES), (PEOPLE.append_column("more", pa.array([1] * 4)), {0: RejectCode.NO_IDENTITY})
    )
    path = f"/runs/{run_id}/rejects/download"
    assert operator.get(path, format="xlsx").status_code == 400
    assert operator.get(path, format="csv").status_code == 400
    assert len(rows_of(operator.get(path, format="jsonl").content, "jsonl")) == 4
    assert operator.get(path, format="csv", code="invalid_ip").status_code == 404
    with rejected.database.transaction() as connection:
        rejects.expire(connection, retention_s=-1)
    gone = operator.get(path, format="jsonl")
    assert (gone.status_code, gone.json()["errors"][0]["code"]) == (404, "NotFound")
    assert operator.get(f"/runs/{run_id}/rejects").json()["removed"] == 4


def test_a_replay_takes_rows_once(rejected: Rejected, operator: Api) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    begun = operator.post(f"/runs/{run_id}/replay", {"code": "no_identity"})
    assert begun.status_code == 200, begun.text
    found = operator.get(f"/runs/{run_id}/rejects").json()
    assert found["left_by_code"] == {"value_too_long": 1}
    assert [(one["run_id"], one["number"], one["state"]) for one in found["replays"]] == [
        (begun.json()["run_id"], begun.json()["number"], "created")
    ]
    again = operator.post(f"/runs/{run_id}/replay", {"code": "no_identity"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (400, "MoveNotAllowed")
    assert operator.post(f"/runs/{run_id}/replay").status_code == 200


def test_a_purge_takes_an_admin_and_leaves_the_value_nowhere(
    rejected: Rejected, operator: Api, admin: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run_id = rejected.run((PEOPLE, CODES))
    body = {"pipeline_ids": ["people"], "column": "EMAIL", "value": "a@planted.example"}
    assert operator.post("/rejects/purge", body).status_code == 403
    for wrong in ({**body, "all": True}, {**body, "pipeline_ids": None}, {**body, "value": {"a": "a@planted.example"}}):
        refused = admin.post("/rejects/purge", wrong)
        assert refused.status_code == 400
        assert "planted" not in refused.text
    assert admin.post("/rejects/purge", {**body, "column": "emial"}).json()["errors"][0]["code"] == "ColumnMissing"
    purged = admin.post("/rejects/purge", body)
    reference = {"id": str(run_id), "number": rejected.stage.run(run_id).number}
    assert purged.json() == {
        "rows": 1,
        "runs": 1,
        "in_spool": [str(run_id)],
        "in_spool_runs": [reference],
        "warnings": [],
    }
    everywhere = admin.post("/rejects/purge", {"all": True, "column": "email", "value": "b@planted.example"})
    assert everywhere.json()["rows"] == 1
    assert admin.get(f"/runs/{run_id}/rejects").json()["purged"] == 2
    assert "planted" not in caplog.text
    noted = [str(row) for table in ("audit", "run_events", "notices") for row in rejected.stage.rows(f"TABLE {table}")]
    assert not [one for one in noted if "planted" in one]
    done = rejected.stage.rows("SELECT actor, subject FROM audit WHERE action = 'purged' ORDER BY id")
    assert [tuple(row) for row in done] == [
        ("some admin", "people"),
        ("some admin", "people"),
        ("some admin", "every pipeline"),
    ]


def test_more_downloads_than_a_server_sends_at_once_are_told_to_come_later(rejected: Rejected, operator: Api) -> None:
    path = f"/runs/{rejected.run((PEOPLE, CODES))}/rejects/download?format=jsonl"
    free = operator.http._transport.app.state.downloads  # type: ignore[attr-defined]
    for _ in range(places.MOST_DOWNLOADS):
        assert free.acquire(blocking=False)
    try:
        busy = operator.get(path)
        assert (busy.status_code, busy.json()["errors"][0]["code"]) == (503, "ServerBusy")
        assert busy.headers["Retry-After"]
    finally:
        for _ in range(places.MOST_DOWNLOADS):
            free.release()
    for _ in range(places.MOST_DOWNLOADS + 1):
        assert operator.get(path).status_code == 200, "a place is given back"


def test_a_download_holds_its_place_until_its_last_byte_is_sent(rejected: Rejected, operator: Api) -> None:
    path = f"{HOST}{WORKSPACE}/runs/{rejected.run((PEOPLE, CODES))}/rejects/download?format=jsonl"
    app = operator.http._transport.app  # type: ignore[attr-defined]
    taken: list[int] = []

    async def asked() -> None:
        sent = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> dict[str, object]:
            if (message := next(sent, None)) is None:
                await asyncio.Event().wait()  # The caller stays.
            return message or {}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                taken.append(places.MOST_DOWNLOADS - app.state.downloads._value)

        url = httpx.URL(path)
        scope = {
            "type": "http",
            "method": "GET",
            "path": url.path,
            "raw_path": url.raw_path,
            "query_string": url.query,
            "headers": [],
        }
        await asyncio.wait_for(app(scope, receive, send), 60)

    operator.runner.run(asked())
    assert taken
    assert set(taken) == {1}
    assert app.state.downloads._value == places.MOST_DOWNLOADS
