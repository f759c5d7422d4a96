"""The spool in another place: copied whole while no worker runs, and everything goes on."""

import shutil
from pathlib import Path

import pytest

from shared.errors import SpoolUnwritable
from shared.messages import TaskName
from shared.settings import settings
from shared.spool import Spool
from tests.worker.tasks.desk import Desk, assert_settled_whole
from worker.fitness import require_common_spool


def test_a_run_under_way_goes_on_from_a_spool_that_was_copied_elsewhere(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = desk.trigger(desk.pipeline())
    desk.do(TaskName.UPLOAD_CHUNK, desk.take_until(TaskName.UPLOAD_CHUNK))
    shutil.copytree(tmp_path / "spool", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "spool")
    move(desk, tmp_path / "elsewhere", monkeypatch)
    require_common_spool(settings(), desk.database)
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_a_spool_without_what_was_in_the_old_one_is_refused_until_it_is_adopted(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_common_spool(settings(), desk.database)
    move(desk, tmp_path / "empty", monkeypatch)
    with pytest.raises(SpoolUnwritable, match="spool adopt"):
        require_common_spool(settings(), desk.database)


def move(desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the worker anew with its spool in another folder."""
    monkeypatch.setenv("WAREHOUSE_SYNC_SPOOL_URL", folder.as_uri())
    settings.cache_clear()
    for made in ("settings", "spool"):
        vars(desk.process).pop(made, None)
    assert isinstance(desk.process.spool, Spool)
