"""Where blobs rest, told by a URL."""

from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from shared.blobs.base import Blobs
from shared.blobs.bucket import Bucket
from shared.blobs.folder import Folder
from shared.errors import DeclarationInvalid


def open_blobs(url: str) -> Blobs:
    """Open ``file:///folder``, a plain path, ``s3://bucket/prefix`` or ``gs://bucket/prefix``; nothing is created yet.

    Options follow a ``?``, as pyarrow has them: ``region``, ``endpoint_override``, ``scheme``.

    Raises:
        DeclarationInvalid: the URL is none of these.
    """
    scheme = urlsplit(url).scheme
    if scheme not in {"", "file", "s3", "gs"}:
        raise DeclarationInvalid(f"{scheme}:// is no place for a spool; use file:///folder, s3://bucket or gs://bucket")
    if scheme == "":
        return Folder(Path(url).expanduser().resolve())
    if scheme == "s3" and "allow_delayed_open" not in url:
        # A chunk then takes one PUT and not a multipart upload of three requests.
        url += f"{'&' if '?' in url else '?'}allow_delayed_open=true"
    try:
        filesystem, path = fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, OSError):
        # Neither the URL nor pyarrow's sentence is shown: a URL may carry keys.
        raise DeclarationInvalid(
            f"the spool's {scheme}:// URL cannot be read; write special characters as %20 and options as ?name=value"
        ) from None
    return Folder(Path(path)) if scheme == "file" else Bucket(filesystem, path)
