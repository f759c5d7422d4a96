import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import pyarrow as pa
import pytest
from pyarrow import fs

from shared.blobs.bucket import Bucket
from shared.blobs.folder import Folder
from shared.blobs.opening import open_blobs
from shared.columns import JSON, column, warehouse_type
from shared.errors import ChunkCorrupt, DeclarationInvalid, SpoolUnavailable, SpoolUnwritable
from shared.run import ChunkId, RunId, Token
from shared.spool import Spool, SpooledFile

RUN, TOKEN = RunId(uuid4()), Token(uuid4())
TABLE = pa.table({"id": [1, 2, None], "email": ["a@example.com", None, "ü"], "list": [["x"], [], None]}).append_column(
    column("json", JSON, "VARIANT"), pa.array(['["x"]', "null", None], JSON)
)


class ObjectStore:
    """pyarrow's local file system, except that a file needs no folder and appears whole, as in an object store."""

    def __init__(self, root: Path) -> None:
        self._local = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._local, name)

    @contextmanager
    def open_output_stream(self, path: str, **options: Any) -> Iterator[Any]:
        unseen = f"{path}.{uuid4()}"
        self._local.create_dir(path.rpartition("/")[0], recursive=True)
        with self._local.open_output_stream(unseen, **options) as stream:
            yield stream
        self._local.move(unseen, path)


def folder_spool(root: Path) -> Spool:
    return Spool.open((root / "spool").as_uri())


def bucket_spool(root: Path) -> Spool:
    return Spool(Bucket(ObjectStore(root), "bucket/spool"), uuid5(NAMESPACE_URL, "s3://bucket/spool"))


@pytest.fixture(params=[folder_spool, bucket_spool])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    opened: Callable[[Path], Spool] = request.param
    return opened(tmp_path)


def written(spool: Spool, *, run_id: RunId = RUN, slice_no: int = 0, token: Token = TOKEN) -> SpooledFile:
    return spool.write_chunk(TABLE, run_id=run_id, slice_no=slice_no, token=token, chunk_id=ChunkId(uuid4()))


def at_rest(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.name != "marker"]


def test_a_chunk_is_read_as_it_was_written(spool: Spool) -> None:
    file = written(spool)
    assert file.rows == 3
    assert not file.path.startswith("/")
    assert spool.read_chunk(file.path, file.checksum).equals(TABLE)


def test_the_file_is_as_large_as_it_says(spool: Spool, tmp_path: Path) -> None:
    file = written(spool)
    assert [path.stat().st_size for path in at_rest(tmp_path)] == [file.bytes]


def test_a_chunk_without_rows_or_with_several_record_batches_is_kept(spool: Spool) -> None:
    for table in (TABLE.slice(0, 0), pa.concat_tables([TABLE, TABLE.slice(1)])):
        file = spool.write_chunk(table, run_id=RUN, slice_no=0, token=TOKEN, chunk_id=ChunkId(uuid4()))
        assert spool.read_chunk(file.path, file.checksum).equals(table)


def test_a_chunk_keeps_what_its_warehouse_calls_a_type(spool: Spool) -> None:
    file = written(spool)
    schema = spool.read_chunk(file.path, file.checksum).schema
    assert schema.equals(TABLE.schema, check_metadata=True)
    assert schema.field("json").type == JSON
    assert warehouse_type(schema.field("json")) == "VARIANT"


def test_rejects_are_read_as_they_were_written(spool: Spool) -> None:
    file = spool.write_rejects(TABLE, run_id=RUN, chunk_id=ChunkId(uuid4()), token=TOKEN, part=1)
    assert spool.read_rejects(file.path, file.checksum).equals(TABLE)


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-1],
        lambda _: b"",
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    ],
    ids=["truncated", "emptied", "changed"],
)
def test_a_file_that_is_not_what_was_written_is_never_read(
    spool: Spool, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    file = written(spool)
    (path,) = at_rest(tmp_path)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(ChunkCorrupt, match=file.path):
        spool.read_chunk(file.path, file.checksum)


def test_a_missing_file_is_corruption_and_a_missing_spool_an_outage(spool: Spool) -> None:
    file = written(spool)
    spool.remove([file.path])
    with pytest.raises(SpoolUnavailable, match="mounted"):
        spool.read_chunk(file.path, file.checksum)
    spool.marker()
    with pytest.raises(ChunkCorrupt, match=file.path):
        spool.read_chunk(file.path, file.checksum)


def test_files_that_are_not_there_are_told(spool: Spool) -> None:
    there = written(spool).path
    gone = there.replace(".arrow", "-.arrow")
    assert spool.missing([there, gone, "runs/nobody/0-nobody/none.arrow"]) == [gone, "runs/nobody/0-nobody/none.arrow"]
    assert spool.missing([]) == []


def test_removing_is_repeatable_and_takes_only_what_it_names(spool: Spool, tmp_path: Path) -> None:
    other_run, zombie = RunId(uuid4()), Token(uuid4())
    mine, sibling, abandoned = written(spool), written(spool, slice_no=1), written(spool, token=zombie)
    other = written(spool, run_id=other_run)
    rejects = spool.write_rejects(TABLE, run_id=RUN, chunk_id=ChunkId(uuid4()), token=TOKEN, part=1)

    def remaining() -> set[str]:
        kept = (mine, sibling, abandoned, other, rejects)
        return {file.path for file in kept if any(str(path).endswith(file.path) for path in at_rest(tmp_path))}

    for _ in range(2):
        spool.remove_slice(RUN, 0, zombie)
        assert remaining() == {mine.path, sibling.path, other.path, rejects.path}
    for _ in range(2):
        spool.remove([mine.path])
        assert remaining() == {sibling.path, other.path, rejects.path}
    for _ in range(2):
        spool.remove_run(RUN)
        assert remaining() == {other.path, rejects.path}
    for _ in range(2):
        spool.remove_rejects(RUN)
        assert remaining() == {other.path}


def test_slice_folders_are_listed_with_their_claim_and_time(spool: Spool) -> None:
    assert list(spool.slice_folders()) == []
    spool.marker()
    written(spool, slice_no=12)
    written(spool, slice_no=12)
    spool.write_rejects(TABLE, run_id=RUN, chunk_id=ChunkId(uuid4()), token=TOKEN, part=1)
    (folder,) = spool.slice_folders()
    assert (folder.run_id, folder.slice_no, folder.token) == (RUN, 12, TOKEN)
    assert abs(folder.modified_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_is_not_named_like_a_slice_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "spool/runs/notes/old").mkdir(parents=True)
    assert list(folder_spool(tmp_path).slice_folders()) == []


@pytest.mark.parametrize("opened", [folder_spool, bucket_spool])
def test_all_who_see_the_same_spool_get_the_same_marker(tmp_path: Path, opened: Callable[[Path], Spool]) -> None:
    markers: list[str] = []
    start = threading.Barrier(8)

    def ask() -> None:
        spool = opened(tmp_path)
        start.wait()
        markers.append(spool.marker())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(markers) == 8
    assert len(set(markers)) == 1
    assert opened(tmp_path).marker() == markers[0]
    assert at_rest(tmp_path) == []


def test_another_folder_has_another_marker_and_a_moved_one_keeps_its_own(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    marker = folder_spool(here).marker()
    assert folder_spool(there).marker() != marker
    (here / "spool").rename(tmp_path / "moved")
    assert Spool.open(str(tmp_path / "moved")).marker() == marker


def test_a_local_spool_is_nobody_elses_to_read(tmp_path: Path) -> None:
    spool = folder_spool(tmp_path / "new")
    written(spool)
    spool.marker()
    made = (tmp_path / "new", *(tmp_path / "new").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_the_operators_own_folder_keeps_its_mode(tmp_path: Path) -> None:
    base = tmp_path / "spool"
    base.mkdir(mode=0o750)
    written(folder_spool(tmp_path))
    assert stat.S_IMODE(base.stat().st_mode) == 0o750


def test_a_full_disk_can_recover_and_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = folder_spool(tmp_path)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        with pytest.raises(SpoolUnavailable, match=f"{tmp_path}/spool is full: [0-9]+ bytes are free and"):
            written(spool)
    assert at_rest(tmp_path) == []
    assert written(spool).rows == 3


def test_a_file_where_the_folder_should_be_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolUnavailable, match=str(tmp_path)):
        written(folder_spool(tmp_path))


def test_what_may_not_be_written_needs_an_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "somewhere")

    # Root may write anywhere, so the refusal is the operating system's only in tests that run as somebody else.
    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(SpoolUnwritable, match="WAREHOUSE_SYNC_SPOOL_URL"):
        written(folder_spool(tmp_path))


@pytest.mark.parametrize("error", [PermissionError("no"), OSError("AWS Error ACCESS_DENIED")])
def test_a_bucket_that_refuses_needs_an_operator(tmp_path: Path, error: OSError) -> None:
    class Refusing(ObjectStore):
        def open_output_stream(self, path: str, **_: Any) -> Any:
            raise type(error)(f"{error}: {path}")

    with pytest.raises(SpoolUnwritable, match="rights"):
        written(Spool(Bucket(Refusing(tmp_path), "bucket"), uuid4()))


def test_a_bucket_that_does_not_answer_can_recover(tmp_path: Path) -> None:
    class Silent(ObjectStore):
        def open_input_file(self, path: str) -> Any:
            raise OSError(f"AWS Error NETWORK_CONNECTION during GetObject of {path}")

    with pytest.raises(SpoolUnavailable, match="NETWORK_CONNECTION"):
        Spool(Bucket(Silent(tmp_path), "bucket"), uuid4()).read_chunk("runs/x", "00")


def test_a_url_says_where(tmp_path: Path) -> None:
    assert isinstance(open_blobs(f"file://{tmp_path}"), Folder)
    assert isinstance(open_blobs(str(tmp_path)), Folder)
    assert isinstance(open_blobs("gs://bucket/prefix"), Bucket)
    assert isinstance(open_blobs("s3://bucket/prefix?region=eu-central-1"), Bucket)


@pytest.mark.parametrize("url", ["ftp://host/folder", "s3://key:sesame@bucket/p?nonsense=1", "file:///a folder"])
def test_an_unusable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(DeclarationInvalid) as refused:
        Spool.open(url)
    assert "sesame" not in str(refused.value)


def test_a_name_never_leaves_the_spool(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a blob's name"):
        folder_spool(tmp_path).read_chunk("../secret", "00")
