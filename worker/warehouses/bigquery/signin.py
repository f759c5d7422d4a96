"""Signing in with a service account's key: one token, two clients, and nothing that the environment might add.

Jobs are asked for over REST, rows are read over gRPC. The clients are given every address and the credentials, so they
neither look for others (metadata server, default credentials, an emulator's address) nor find out a project.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
from google.api_core import client_options, grpc_helpers
from google.api_core.client_info import ClientInfo
from google.api_core.gapic_v1.client_info import ClientInfo as ReadClientInfo
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.oauth2.service_account import Credentials
from requests import RequestException

from shared.errors import DeclarationInvalid
from shared.providers.bigquery import BigQueryConfig, read_key
from worker.warehouses.base import PRODUCT
from worker.warehouses.bigquery.errors import sign_in_failed

SCOPE: Final = "https://www.googleapis.com/auth/bigquery"
"""The least that may create jobs; the account's roles decide what it may read."""
REST: Final = "https://bigquery.googleapis.com"
STORAGE: Final = "https://bigquerystorage.googleapis.com"
_SIGN_IN_S: Final = 15
_CHANNEL: Final = (
    ("grpc.max_send_message_length", -1),
    # A response holds up to 128 MB, gRPC's own limit is 4.
    ("grpc.max_receive_message_length", -1),
    # A connection that a firewall dropped silently is noticed. The figures are those of Google's own Bigtable client.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class Clients:
    """Google's two clients, signed in as one account."""

    rest: bigquery.Client
    storage: BigQueryReadClient

    def close(self) -> None:
        """Close their connections; repeating it is fine."""
        self.rest.close()
        self.storage.transport.close()


def sign_in(connection_id: str, config: BigQueryConfig, key: str) -> Clients:
    """Exchange a signed assertion for a token and make the clients; they renew the token by themselves.

    Raises:
        DeclarationInvalid: the key is none, another account's, or signs in elsewhere than at Google.
        CredentialsRefused: Google does not accept the key.
        WarehouseUnreachable: there is no such host, or it is not who it should be.
        WarehouseBusy: signing in is not possible now.
    """
    content = read_key(connection_id, config, key)
    try:
        credentials = Credentials.from_service_account_info(content, scopes=[SCOPE])
    except (GoogleAuthError, ValueError, KeyError, TypeError, AttributeError):
        # Without its cause, which may quote the key.
        raise DeclarationInvalid(
            f"connection {connection_id!r}: the private key in service_account_key cannot be read; create a new key "
            f"for {config.service_account_id} and store its file as it is"
        ) from None
    try:
        credentials.refresh(partial(Request(), timeout=_SIGN_IN_S))
    except (GoogleAuthError, RequestException, OSError, ValueError) as error:
        raise sign_in_failed(error, connection_id, config) from None
    return Clients(_rest(config, credentials), _storage(config, credentials))


def _rest(config: BigQueryConfig, credentials: Credentials) -> bigquery.Client:
    return bigquery.Client(
        project=config.project_id,
        credentials=credentials,
        location=config.region,
        client_info=ClientInfo(user_agent=PRODUCT),
        client_options=client_options.ClientOptions(api_endpoint=config.endpoint or REST),
    )


def _storage(config: BigQueryConfig, credentials: Credentials) -> BigQueryReadClient:
    info = ReadClientInfo(user_agent=PRODUCT)
    transport = BigQueryReadGrpcTransport(channel=_channel(config, credentials), client_info=info)
    return BigQueryReadClient(transport=transport, client_info=info)


def _channel(config: BigQueryConfig, credentials: Credentials) -> Any:
    address = urlsplit(config.storage_endpoint or STORAGE)
    is_plain = address.scheme == "http"
    return grpc_helpers.create_channel(
        f"{address.hostname}:{address.port or (80 if is_plain else 443)}",
        credentials=credentials,
        # Without TLS, a token is only ever sent to this machine: gRPC refuses any other peer of such a channel.
        ssl_credentials=grpc.local_channel_credentials() if is_plain else grpc.ssl_channel_credentials(),
        options=_CHANNEL,
    )
