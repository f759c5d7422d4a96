"""Signs in to Snowflake: as whom, where to, with which settings of the client and of the session.

The client is kept from everything that a worker must not do: it asks nobody, caches no token on disk, does not send
telemetry, and does not look for a cloud's metadata service to find out where it runs.
"""

import json
import logging
import math
import os
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

# Its log may quote rows (a server's words about a failed cast), and what matters in it comes as an error, too. Before
# the client is imported, because importing it already writes a line.
logging.getLogger("snowflake.connector").setLevel(logging.CRITICAL)

import snowflake.connector
from snowflake.connector.errors import Error

from shared.errors import CredentialsRefused
from shared.providers.snowflake import SnowflakeConfig
from worker.warehouses.base import PRODUCT, Label
from worker.warehouses.snowflake.errors import could_not_sign_in

# ruff: noqa: E402 - see above

# The client has no setting for this; it reads the environment at each sign-in.
os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")

_LOGIN_S: Final = 30
_CONNECT_S: Final = 10
_REQUEST_S: Final = 60
_ATTEMPT_S: Final = 120
"""Of one request, a download too; the only limit that submitting a query has."""
_ATTEMPTS: Final = 4
_LONGEST_PAUSE_MS: Final = 4000
_LONGEST_TAG: Final = 2000
"""Characters that Snowflake allows in QUERY_TAG."""
_CHUNK_MIB: Final = 48
"""The least that Snowflake takes as the size of a result's parts."""


def sign_in(
    connection_id: str,
    config: SnowflakeConfig,
    *,
    resolve: Callable[[str], str],
    query_timeout_s: float,
    label: Label,
) -> Any:
    """Give an open connection of the client.

    Raises:
        SecretUnavailable: a secret reference leads nowhere.
        CredentialsRefused: Snowflake does not take the password or key, or the key cannot be read.
        RightsMissing: the user does not have the role.
        WarehouseUnreachable: there is no such account, host, database or compute warehouse.
        WarehouseBusy: Snowflake cannot be reached now.
    """
    options = _address(config) | _credentials(connection_id, config, resolve)
    try:
        return snowflake.connector.connect(
            **options,
            user=config.user,
            role=config.role,
            warehouse=config.warehouse,
            database=config.database,
            schema=config.schema_name,
            validate_default_parameters=True,
            application=PRODUCT.replace("-", "_"),
            session_parameters=_session_parameters(query_timeout_s, label),
            paramstyle="qmark",
            # A result may be read for longer than a session lasts unasked.
            client_session_keep_alive=True,
            client_store_temporary_credential=False,
            # Sign out at once: a query that still runs then was cancelled before.
            server_session_keep_alive=False,
            enable_server_session_keep_alive_auto_detection=False,
            login_timeout=_LOGIN_S,
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
            retry_timeout=_ATTEMPT_S,
            # Of describing; a query itself runs without a request being open.
            query_timeout=max(1, math.ceil(query_timeout_s)),
            retry_max_attempts=_ATTEMPTS,
            retry_backoff_cap_ms=_LONGEST_PAUSE_MS,
        )
    except Error as error:
        raise could_not_sign_in(error, connection_id, config) from None


def _address(config: SnowflakeConfig) -> dict[str, Any]:
    account = {"account": config.full_account}
    if config.endpoint is None:
        return account
    parts = urlsplit(config.endpoint)
    default = 80 if parts.scheme == "http" else 443
    return account | {"protocol": parts.scheme, "host": parts.hostname, "port": parts.port or default}


def _credentials(connection_id: str, config: SnowflakeConfig, resolve: Callable[[str], str]) -> dict[str, Any]:
    if config.private_key is None:
        return {"password": resolve(config.password or "")}
    passphrase = None if config.private_key_passphrase is None else resolve(config.private_key_passphrase)
    key = _der(resolve(config.private_key), passphrase, connection_id)
    return {"authenticator": "SNOWFLAKE_JWT", "private_key": key}


def _der(pem: str, passphrase: str | None, connection_id: str) -> bytes:
    """Give the key as the client takes it, whatever it was encrypted with."""
    place = f"connection {connection_id!r}: its private_key"
    try:
        key = load_pem_private_key(pem.encode(), None if passphrase is None else passphrase.encode())
    except TypeError:
        cure = "is encrypted; name its private_key_passphrase" if passphrase is None else "needs no passphrase"
        raise CredentialsRefused(f"{place} {cure}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialsRefused(
            f"{place} cannot be read; expected a PEM text that begins with -----BEGIN PRIVATE KEY----- or -----BEGIN "
            "ENCRYPTED PRIVATE KEY-----, with its line ends"
            + (", and its passphrase" if passphrase is not None else "")
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise CredentialsRefused(f"{place} is no RSA key; Snowflake takes RSA keys of at least 2048 bits")
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _session_parameters(query_timeout_s: float, label: Label) -> dict[str, Any]:
    return {
        "TIMEZONE": "UTC",
        "STATEMENT_TIMEOUT_IN_SECONDS": max(1, math.ceil(query_timeout_s)),
        # Nobody waits for a query's answer while it runs; an account may take that for a lost connection.
        "ABORT_DETACHED_QUERY": False,
        # An account may cut results off after some rows, silently.
        "ROWS_PER_RESULTSET": 0,
        "CLIENT_RESULT_CHUNK_SIZE": _CHUNK_MIB,
        "QUERY_TAG": json.dumps(dict(label.tags))[:_LONGEST_TAG],
        "JSON_INDENT": 0,
        "GEOGRAPHY_OUTPUT_FORMAT": "GeoJSON",
        "GEOMETRY_OUTPUT_FORMAT": "GeoJSON",
        "CLIENT_TELEMETRY_ENABLED": False,
    }
