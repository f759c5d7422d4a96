"""Which fields of which declarations are secrets, whom they are shown to, and how a stored one is kept.

Whoever changes a declaration was never shown its secrets, so a document may leave them out. Such a secret is *kept*,
but only while it is shown to whom it was given for. Otherwise anybody who may change an address could have it sent to
one of theirs.
"""

import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, Final, TypeVar, assert_never
from urllib.parse import urlsplit

from pydantic import BaseModel

from shared.catalog import Connection, ServiceProvider
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.providers.bigquery import BigQueryConfig
from shared.providers.databricks import DatabricksConfig
from shared.providers.duckdb import DuckDbConfig
from shared.providers.redshift import RedshiftConfig
from shared.providers.snowflake import SnowflakeConfig
from shared.sealing import SCHEME

STORED: Final = "stored"
"""In place of a secret: keep the one that the deployment has."""
_FEED: Final = ("api_secret",)
_CONNECTION: Final[Mapping[ServiceProvider, tuple[str, ...]]] = {
    ServiceProvider.DUCKDB: (),
    ServiceProvider.SNOWFLAKE: ("config.password", "config.private_key", "config.private_key_passphrase"),
    ServiceProvider.BIGQUERY: ("config.service_account_key",),
    ServiceProvider.REDSHIFT: ("config.password",),
    ServiceProvider.DATABRICKS: ("config.access_token", "config.client_secret"),
}
_REPLACED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "config.password": ("config.private_key", "config.private_key_passphrase"),
    "config.private_key": ("config.password",),
    "config.private_key_passphrase": ("config.private_key", "config.password"),
    "config.access_token": ("config.client_id", "config.client_secret"),
    "config.client_secret": ("config.access_token",),
}
"""Who gives one of these signs in another way, or with another key: the secret that is left out is not kept."""
_REFERENCE: Final = re.compile(r"(env|file|sealed):")
_PLACEHOLDER: Final = "env:TO_BE_SEALED"
_PORTS: Final = {"http": 80, "https": 443}

Resource = TypeVar("Resource", bound=BaseModel)


def secret_paths(kind: type[BaseModel], provider: ServiceProvider | str | None = None) -> tuple[str, ...]:
    """Give the paths of a kind's secrets, set or not; a connection's follow from whose warehouse it is."""
    if kind is Feed:
        return _FEED
    if kind is not Connection or provider is None:
        return ()
    known = provider.lower()
    return _CONNECTION[ServiceProvider(known)] if known in set(ServiceProvider) else ()


def secrets_of(resource: BaseModel) -> Mapping[str, str]:
    """Give the references of a resource's secrets that are set, by path."""
    provider = resource.service_provider if isinstance(resource, Connection) else None
    return {
        path: reference
        for path in secret_paths(type(resource), provider)
        if (reference := _attribute(resource, path)) is not None
    }


def with_secrets(resource: Resource, references: Mapping[str, str]) -> Resource:
    """Give a resource with other references in the place of some of its secrets."""
    document = resource.model_dump(mode="json")
    for path, reference in references.items():
        _set(document, path, reference)
    return type(resource).model_validate(document)


def destination(resource: Feed | Connection) -> str:
    """Give whom a resource's secrets are shown to, and on what kind of way; equal texts mean the same."""
    if isinstance(resource, Feed):
        return _origin(resource.base_url)
    match resource.config:
        case DuckDbConfig():
            return "nobody"
        case SnowflakeConfig() as config:
            return _origin(config.endpoint or f"https://{config.full_account}.snowflakecomputing.com")
        case BigQueryConfig() as config:
            queries = config.endpoint or "https://bigquery.googleapis.com"
            rows = config.storage_endpoint or "https://bigquerystorage.googleapis.com"
            return f"{_origin(queries)} and {_origin(rows)}"
        case RedshiftConfig() as config:
            way = "" if config.tls == "verify-full" else f" (tls: {config.tls})"
            return f"{config.host.lower()}:{config.port}{way}"
        case DatabricksConfig() as config:
            return _origin(config.base_url)
        case _:
            assert_never(resource.config)


def purpose(resource: Feed | Connection) -> str:
    """Give what a secret of the resource is sealed for: the resource, and whom it is shown to."""
    kind = "feed" if isinstance(resource, Feed) else "connection"
    return f"{kind} {resource.id} at {destination(resource)}"


def kept_paths(kind: type[BaseModel], document: Mapping[str, Any], stored: BaseModel | None) -> tuple[str, ...]:
    """Give the paths of the secrets that a document leaves to what is stored.

    A secret is left out where it is absent, null, a mask of asterisks, or the word ``stored``. One that is absent or
    null is not kept where the document gives what replaces it: another way to sign in, or another key.

    Raises:
        DeclarationInvalid: a mask or the word stands where nothing is stored.
    """
    known = _stored_secrets(kind, document, stored)
    kept = []
    for path in secret_paths(kind, _provider(document)):
        given = _get(document, path)
        if _asks_for_stored(given):
            if path not in known:
                raise DeclarationInvalid(
                    f"{_noun(kind)} {document.get('id')!r}: {path}: nothing is stored to be kept; give the secret, or "
                    "a reference to it"
                )
            kept.append(path)
        elif given is None and path in known and not _is_replaced(document, path):
            kept.append(path)
    return tuple(kept)


def with_stored(kind: type[BaseModel], document: Mapping[str, Any], stored: BaseModel | None) -> dict[str, Any]:
    """Give a document, not yet validated, with the stored secrets in place of those that :func:`kept_paths` names.

    Raises:
        DeclarationInvalid: a secret shall be kept, and none is stored.
    """
    known = _stored_secrets(kind, document, stored)
    complete = deepcopy(dict(document))
    for path in kept_paths(kind, document, stored):
        _set(complete, path, known[path])
    return complete


def take_plain(kind: type[BaseModel], document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give a document with placeholders for the secrets that stand in it as they are, and those secrets by path.

    What begins with ``env:``, ``file:`` or ``sealed:`` is a reference. Placeholders make the document valid, so that
    its purpose is known; nothing resolves one.
    """
    complete, plain = deepcopy(dict(document)), {}
    for path in secret_paths(kind, _provider(document)):
        given = _get(document, path)
        if isinstance(given, str) and given and not _REFERENCE.match(given):
            plain[path] = given
            _set(complete, path, _PLACEHOLDER)
    return complete, plain


def require_same_destination(
    new: Feed | Connection, stored: Feed | Connection | None, kept: Collection[str] = ()
) -> None:
    """Raise where a secret that was kept, or sealed before, would be shown to somebody it was not given for.

    Raises:
        DeclarationInvalid: the message names the field and both destinations.
    """
    if stored is None or (before := destination(stored)) == (now := destination(new)):
        return
    had = secrets_of(stored)
    for path, reference in secrets_of(new).items():
        if path in kept or (reference.startswith(SCHEME) and reference == had.get(path)):
            raise DeclarationInvalid(
                f"{_noun(type(new))} {new.id!r}: {path} was given to be shown to {before}, and would now be shown to "
                f"{now}; give the secret again"
            )


def _stored_secrets(kind: type[BaseModel], document: Mapping[str, Any], stored: BaseModel | None) -> Mapping[str, str]:
    """Give what is stored and may be kept: of another warehouse's kind, nothing."""
    if stored is None or type(stored) is not kind:
        return {}
    if isinstance(stored, Connection) and _provider(document) != stored.service_provider:
        return {}
    return secrets_of(stored)


def _asks_for_stored(given: object) -> bool:
    return isinstance(given, str) and (given == STORED or re.fullmatch(r"\*+", given) is not None)


def _is_replaced(document: Mapping[str, Any], path: str) -> bool:
    others = (_get(document, other) for other in _REPLACED_BY.get(path, ()))
    return any(given is not None and not _asks_for_stored(given) for given in others)


def _provider(document: Mapping[str, Any]) -> str | None:
    given = document.get("service_provider")
    return given.lower() if isinstance(given, str) else None


def _noun(kind: type[BaseModel]) -> str:
    return "feed" if kind is Feed else "connection"


def _origin(address: str) -> str:
    """Give scheme, host and port of a web address, in one spelling."""
    parts = urlsplit(address)
    port = re.search(r":([0-9]+)$", parts.netloc)
    host = (parts.netloc[: port.start()] if port else parts.netloc).lower()
    return f"{parts.scheme}://{host}:{int(port[1]) if port else _PORTS[parts.scheme]}"


def _attribute(resource: BaseModel, path: str) -> str | None:
    found: Any = resource
    for name in path.split("."):
        found = getattr(found, name)
    return found if isinstance(found, str) else None


def _get(document: Mapping[str, Any], path: str) -> object:
    found: object = document
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _set(document: dict[str, Any], path: str, value: str) -> None:
    *above, last = path.split(".")
    place: object = document
    for name in above:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None
    if isinstance(place, dict):  # What is of another shape is refused when the document is validated.
        place[last] = value
