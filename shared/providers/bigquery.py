"""BigQuery: the project, the dataset, and a service account.

Source: mParticle, Warehouse Sync API, connection ``config`` of BigQuery; the endpoints are ours.
"""

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from shared.errors import DeclarationInvalid
from shared.fields import WEB_ADDRESS, Declared, SecretReference
from shared.providers.endpoint import Endpoint, host_of, is_this_machine

_PROJECT: Final = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DATASET: Final = re.compile(r"[A-Za-z0-9_]{1,1024}")
_REGION: Final = re.compile(r"[A-Za-z]+(-[a-z0-9]+)*")
_SERVICE_ACCOUNT: Final = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.gserviceaccount\.com")
_TOKEN_HOSTS: Final = frozenset({"oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"})
_UNIVERSE: Final = "googleapis.com"


def _project(text: str) -> str:
    if not _PROJECT.fullmatch(text):
        raise ValueError("expected a project id like my-project-123456, not its name or number")
    return text


def _dataset(text: str) -> str:
    if not _DATASET.fullmatch(text):
        raise ValueError("expected a dataset id like my_dataset: letters, digits and _, without the project")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("expected the dataset's data location, like us-east4, EU or aws-us-east-1")
    return text


def _service_account(text: str) -> str:
    if not _SERVICE_ACCOUNT.fullmatch(text):
        raise ValueError("expected an address like reader@my-project-123456.iam.gserviceaccount.com")
    return text


class BigQueryConfig(Declared):
    """A project that pays, the dataset whose tables need no qualifying, and a service account's key."""

    service_provider: Literal["bigquery"] = Field("bigquery", exclude=True, repr=False)
    project_id: Annotated[str, AfterValidator(_project)]
    dataset_id: Annotated[str, AfterValidator(_dataset)]
    region: Annotated[str, AfterValidator(_region)]
    service_account_id: Annotated[str, AfterValidator(_service_account)]
    service_account_key: SecretReference = Field(description="the key file's content (JSON)")
    endpoint: Endpoint | None = Field(
        None, description="instead of bigquery.googleapis.com: private access, test server"
    )
    storage_endpoint: Endpoint | None = Field(None, description="the same for bigquerystorage.googleapis.com")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts beyond the vendor's own that would be shown a token."""
        return tuple(host_of(address) for address in (self.endpoint, self.storage_endpoint) if address is not None)


def read_key(connection_id: str, config: BigQueryConfig, key: str) -> dict[str, Any]:
    """Give the content of a service account's key file, if it is the declared account's and signs in at Google.

    The file itself says where its signed assertion is sent. Whoever receives one can sign in with it for an hour, so
    that must be Google, or a host that the connection declares and this process therefore allows.

    Raises:
        DeclarationInvalid: it is no such file, another account's, or leads elsewhere. What is inside is not repeated.
    """
    expected = (
        f"connection {connection_id!r}: service_account_key must hold the JSON key file of {config.service_account_id}"
    )
    try:
        content = json.loads(key)
    except (ValueError, RecursionError):
        raise DeclarationInvalid(f"{expected}; it is not JSON") from None
    if not isinstance(content, dict) or content.get("type") != "service_account":
        raise DeclarationInvalid(f'{expected}; it has no "type": "service_account"')
    if content.get("client_email") != config.service_account_id:
        raise DeclarationInvalid(
            f"{expected}; its client_email is another one's. Correct service_account_id, or the key"
        )
    if content.get("universe_domain", _UNIVERSE) != _UNIVERSE:
        raise DeclarationInvalid(f"{expected}; its universe_domain is not {_UNIVERSE}, and no other is supported")
    if not _is_a_token_address(content.get("token_uri"), config):
        allowed = ", ".join(sorted(_TOKEN_HOSTS.union(config.hosts)))
        raise DeclarationInvalid(
            f"{expected}; its token_uri must be an https address at one of {allowed}: whoever is sent the signed "
            "assertion can sign in with it. Create a new key, or declare the endpoint"
        )
    return content


def _is_a_token_address(address: object, config: BigQueryConfig) -> bool:
    if not isinstance(address, str) or not re.fullmatch(WEB_ADDRESS, address):
        return False
    host = host_of(address)
    if host in config.hosts:
        return address.startswith("https:") or is_this_machine(host)
    return address.startswith("https:") and host in _TOKEN_HOSTS
