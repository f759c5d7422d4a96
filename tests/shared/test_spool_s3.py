"""The spool in a bucket, over a socket, with the client that production uses."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID, uuid4

import boto3
import pyarrow as pa
import pytest

from sandbox.ports import free_port, is_free
from sandbox.processes import wait_for
from shared.errors import ChunkCorrupt, SpoolUnavailable
from shared.run import ChunkId, RunId, Token
from shared.spool import Spool

LIMIT_S = 60
RUN = RunId(UUID(int=1))
ROWS = pa.table({"customer_id": ["a", "b"], "score": [1, 2]})


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket on a server of this module's own."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        assert wait_for(lambda: not is_free(port) or server.poll() is not None, LIMIT_S)
        assert server.poll() is None, "the bucket server did not start"
        client.create_bucket(Bucket="chunks")
        client.close()
        yield f"s3://key:secret@chunks/prefix?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        server.terminate()
        server.wait()


def test_a_chunk_in_a_bucket_is_read_back_as_it_was_written(bucket: str) -> None:
    spool = Spool.open(bucket)
    file = spool.write_chunk(ROWS, run_id=RUN, slice_no=0, token=Token(uuid4()), chunk_id=ChunkId(uuid4()))
    assert spool.read_chunk(file.path, file.checksum).equals(ROWS)


def test_everybody_who_opens_the_bucket_sees_the_same_marker(bucket: str) -> None:
    assert Spool.open(bucket).marker() == Spool.open(bucket).marker()


def test_a_removed_run_leaves_nothing(bucket: str) -> None:
    spool = Spool.open(bucket)
    spool.marker()
    file = spool.write_chunk(ROWS, run_id=RUN, slice_no=0, token=Token(uuid4()), chunk_id=ChunkId(uuid4()))
    spool.remove_run(RUN)
    spool.remove_run(RUN)
    with pytest.raises(ChunkCorrupt):
        spool.read_chunk(file.path, file.checksum)


def test_a_bucket_that_does_not_answer_is_named_without_its_keys() -> None:
    url = "s3://key:secret@chunks/prefix?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    with pytest.raises(SpoolUnavailable) as failed:
        Spool.open(url).write_chunk(ROWS, run_id=RUN, slice_no=0, token=Token(uuid4()), chunk_id=ChunkId(uuid4()))
    assert "secret" not in str(failed.value)
