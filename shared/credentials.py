"""Secret references to secrets, in workers only.

A reference may only name environment variables with the configured prefix and files in the configured folder, so that
nobody who may declare a feed can have our own keys sent to a host of theirs. A sealed one only opens for what it was
sealed for.
"""

import os
from pathlib import Path

from shared.catalog import Connection
from shared.errors import DeclarationInvalid, SecretUnavailable
from shared.feed import Feed
from shared.key_file import read_keys
from shared.providers.duckdb import DuckDbConfig
from shared.sealing import open_sealed
from shared.settings import Settings


def resolve(reference: str, settings: Settings, *, purpose: str) -> str:
    """Give the secret that ``env:NAME`` or ``file:/path`` refers to, without a trailing line end, or that is sealed.

    ``purpose`` is that of the resource as it is declared now (:func:`shared.secret_fields.purpose`).

    Raises:
        SecretUnavailable: the reference leads nowhere, or nowhere it may, or its key is not here, or it was sealed for
            something else; the message names the reference only.
    """
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        return _from_environment(place, settings)
    if scheme == "file":
        return _from_file(Path(place), settings)
    if scheme == "sealed":
        return open_sealed(reference, purpose, read_keys(settings.private_keys))
    raise SecretUnavailable(f"a secret reference begins with env:, file: or sealed:, not {scheme!r}:")


def require_allowed_host(feed: Feed, settings: Settings) -> None:
    """Raise unless the feed's host may be shown a secret: mParticle's own, or one that this process was told of.

    Raises:
        DeclarationInvalid: it is a stranger's.
    """
    if not feed.is_at_mparticle and feed.host not in settings.feed_hosts:
        raise DeclarationInvalid(
            f"feed {feed.id!r}: {feed.host} is not one of mParticle's hosts; if it is yours on purpose (a test "
            "server), add it to WAREHOUSE_SYNC_FEED_HOSTS, here and for the workers"
        )


def require_allowed_warehouse(connection: Connection, settings: Settings) -> None:
    """Raise unless the connection's hosts may be shown a secret: its vendor's own, or those this process was told of.

    Raises:
        DeclarationInvalid: one is a stranger's.
    """
    if isinstance(connection.config, DuckDbConfig):
        return
    for host in connection.config.hosts:
        if host not in settings.warehouse_hosts:
            raise DeclarationInvalid(
                f"connection {connection.id!r}: {host} is not one of {connection.service_provider}'s own hosts; if it "
                "is yours on purpose (a private link, a proxy), add it to WAREHOUSE_SYNC_WAREHOUSE_HOSTS, here and for "
                "the workers"
            )


def _from_environment(name: str, settings: Settings) -> str:
    if not name.startswith(settings.secret_env_prefix):
        raise SecretUnavailable(
            f"secret reference env:{name}: only variables that begin with {settings.secret_env_prefix} may be named "
            "(WAREHOUSE_SYNC_SECRET_ENV_PREFIX)"
        )
    secret = os.environ.get(name)
    if not secret:
        raise SecretUnavailable(f"secret reference env:{name}: the variable is not set in this worker's environment")
    return secret


def _from_file(path: Path, settings: Settings) -> str:
    try:
        folder = settings.secret_folder.resolve()
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        raise SecretUnavailable(f"secret reference file:{path}: the path leads in a circle or is none") from None
    if not real.is_relative_to(folder):
        raise SecretUnavailable(
            f"secret reference file:{path}: only files in {folder} may be named (WAREHOUSE_SYNC_SECRET_FOLDER)"
        )
    try:
        secret = real.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretUnavailable(f"secret reference file:{path}: {error.strerror}; mount it in this worker") from error
    except UnicodeDecodeError:  # It holds what it could not read.
        raise SecretUnavailable(f"secret reference file:{path}: the file is not UTF-8 text") from None
    if not secret:
        raise SecretUnavailable(f"secret reference file:{path}: the file is empty")
    return secret
