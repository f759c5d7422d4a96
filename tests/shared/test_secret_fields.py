"""Every secret is known as one, and a stored one is kept only for whom it was given."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.catalog import Config, Connection, DataModel, Pipeline, ServiceProvider
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.fields import SecretReference
from shared.secret_fields import (
    destination,
    kept_paths,
    purpose,
    require_same_destination,
    secret_paths,
    secrets_of,
    take_plain,
    with_secrets,
    with_stored,
)
from shared.transformation import FieldTransformation

FEED = {
    "id": "a",
    "name": "A",
    "base_url": "https://s2s.us1.mparticle.com/v2",
    "api_key": "k",
    "api_secret": "env:WAREHOUSE_SYNC_SECRET_FEED",
}
SNOWFLAKE = {"account_identifier": "org-acct", "warehouse": "w", "database": "d", "user": "u"}
REDSHIFT = {"host": "c.abc.us-east-1.redshift.amazonaws.com", "database": "d", "user": "u"}
BIGQUERY = {
    "project_id": "my-project-123456",
    "dataset_id": "d",
    "region": "EU",
    "service_account_id": "r@my-project-123456.iam.gserviceaccount.com",
}
DATABRICKS = {"server_hostname": "dbc-1.cloud.databricks.com", "http_path": "/sql/1.0/warehouses/a", "schema": "s"}


def connection(provider: str, config: Mapping[str, Any], **secrets: str | None) -> dict[str, Any]:
    return {"id": "w", "name": "W", "service_provider": provider, "config": {**config, **secrets}}


def stored(provider: str, config: Mapping[str, Any], **secrets: str | None) -> Connection:
    return Connection.model_validate(connection(provider, config, **secrets))


PASSWORD = stored("snowflake", SNOWFLAKE, password="env:P")
KEY_PAIR = stored("snowflake", SNOWFLAKE, private_key="env:K", private_key_passphrase="env:PP")
TOKEN = stored("databricks", DATABRICKS, access_token="env:T")
PRINCIPAL = stored("databricks", DATABRICKS, client_id="c", client_secret="env:S")
CLUSTER = stored("redshift", REDSHIFT, password="env:R")
PROJECT = stored("bigquery", BIGQUERY, service_account_key="env:B")


def _secret_fields(kind: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Walk a model and give the path of each field that takes a secret reference, however it is written."""
    for name, field in kind.model_fields.items():
        path = (*above, name)
        if _takes_a_reference(field.annotation, field):
            yield ".".join(path)
        for inner in _models_in(field.annotation):
            yield from _secret_fields(inner, path)


def _takes_a_reference(annotation: Any, field: FieldInfo | None = None) -> bool:
    _, reference = get_args(SecretReference)
    pattern = next(one for one in reference.metadata if hasattr(one, "pattern"))
    if field is not None and pattern in field.metadata:
        return True
    if get_origin(annotation) is Annotated:
        return annotation == SecretReference or _takes_a_reference(get_args(annotation)[0])
    return any(_takes_a_reference(one) for one in get_args(annotation))


def _models_in(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models_in(one)


def test_no_secret_of_any_declaration_is_forgotten() -> None:
    assert set(_secret_fields(Feed)) == set(secret_paths(Feed))
    for config in get_args(Config):
        provider = config.model_fields["service_provider"].default
        found = {f"config.{path}" for path in _secret_fields(config)}
        assert found == set(secret_paths(Connection, provider)), provider
    assert {config.model_fields["service_provider"].default for config in get_args(Config)} == set(ServiceProvider)
    for kind in (DataModel, FieldTransformation, Pipeline):
        assert not set(_secret_fields(kind))
        assert secret_paths(kind) == ()


def test_a_connections_secrets_follow_from_its_provider_in_any_case() -> None:
    assert secret_paths(Connection, "Redshift") == ("config.password",)
    assert secret_paths(Connection, "oracle") == secret_paths(Connection) == ()


@pytest.mark.parametrize(
    ("resource", "secrets"),
    [
        (Feed.model_validate(FEED), {"api_secret": FEED["api_secret"]}),
        (PASSWORD, {"config.password": "env:P"}),
        (KEY_PAIR, {"config.private_key": "env:K", "config.private_key_passphrase": "env:PP"}),
        (TOKEN, {"config.access_token": "env:T"}),
        (PRINCIPAL, {"config.client_secret": "env:S"}),
        (PROJECT, {"config.service_account_key": "env:B"}),
        (stored("duckdb", {"folder": "/data"}), {}),
        (DataModel(id="m", name="M", sql_query="SELECT 1"), {}),
    ],
)
def test_the_secrets_that_are_set_are_found_and_replaced(resource: BaseModel, secrets: dict[str, str]) -> None:
    assert secrets_of(resource) == secrets
    others = dict.fromkeys(secrets, "file:/run/secrets/other")
    assert secrets_of(with_secrets(resource, others)) == others
    assert with_secrets(with_secrets(resource, others), secrets) == resource


@pytest.mark.parametrize(
    ("resource", "shown_to"),
    [
        (Feed.model_validate(FEED), "https://s2s.us1.mparticle.com:443"),
        (Feed.model_validate(FEED | {"base_url": "http://LOCALHOST:080/v2"}), "http://localhost:80"),
        (Feed.model_validate(FEED | {"base_url": "http://[::1]/v2"}), "http://[::1]:80"),
        (Feed.model_validate(FEED | {"base_url": "https://a.example:99999"}), "https://a.example:99999"),
        (PASSWORD, "https://org-acct.snowflakecomputing.com:443"),
        (stored("snowflake", SNOWFLAKE | {"endpoint": "https://p.example"}, password="env:P"), "https://p.example:443"),
        (PROJECT, "https://bigquery.googleapis.com:443 and https://bigquerystorage.googleapis.com:443"),
        (CLUSTER, "c.abc.us-east-1.redshift.amazonaws.com:5439"),
        (stored("redshift", REDSHIFT | {"tls": "off"}, password="env:R"), f"{REDSHIFT['host']}:5439 (tls: off)"),
        (TOKEN, "https://dbc-1.cloud.databricks.com:443"),
        (stored("duckdb", {"folder": "/data"}), "nobody"),
    ],
)
def test_a_destination_says_to_whom_and_on_what_way(resource: Feed | Connection, shown_to: str) -> None:
    assert destination(resource) == shown_to
    assert purpose(resource).endswith(f" {resource.id} at {shown_to}")


def test_purposes_of_a_feed_and_a_connection_of_one_id_differ() -> None:
    assert purpose(Feed.model_validate(FEED | {"id": "w"})).startswith("feed w at ")
    assert purpose(PASSWORD).startswith("connection w at ")


LEFT_OUT = [None, "*", "************", "stored"]


@pytest.mark.parametrize("given_", LEFT_OUT)
def test_a_secret_that_is_left_out_is_the_stored_one(given_: str | None) -> None:
    feed = Feed.model_validate(FEED)
    assert with_stored(Feed, FEED | {"name": "B", "api_secret": given_}, feed) == FEED | {"name": "B"}
    absent = {name: value for name, value in FEED.items() if name != "api_secret"}
    assert with_stored(Feed, absent, feed) == FEED
    document = connection("Redshift", REDSHIFT, password=given_)
    assert with_stored(Connection, document, CLUSTER)["config"]["password"] == "env:R"


@pytest.mark.parametrize("given_", LEFT_OUT[1:])
def test_asking_for_a_stored_secret_where_none_is_stored_is_refused(given_: str) -> None:
    with pytest.raises(DeclarationInvalid, match="api_secret: nothing is stored"):
        with_stored(Feed, FEED | {"api_secret": given_}, None)
    with pytest.raises(DeclarationInvalid, match=r"config\.private_key: nothing is stored"):
        with_stored(Connection, connection("snowflake", SNOWFLAKE, private_key=given_), PASSWORD)


def test_of_another_kind_of_warehouse_nothing_is_kept() -> None:
    assert kept_paths(Connection, connection("redshift", REDSHIFT), PASSWORD) == ()
    with pytest.raises(DeclarationInvalid, match="nothing is stored"):
        kept_paths(Connection, connection("redshift", REDSHIFT, password="stored"), PASSWORD)


def test_a_secret_that_is_given_is_taken() -> None:
    given_ = FEED | {"api_secret": "file:/run/secrets/new"}
    assert with_stored(Feed, given_, Feed.model_validate(FEED)) == given_
    assert with_stored(Feed, FEED, None) == FEED


@pytest.mark.parametrize(
    ("held", "provider", "config", "secrets", "kept"),
    [
        (PASSWORD, "snowflake", SNOWFLAKE, {}, ["config.password"]),
        (PASSWORD, "snowflake", SNOWFLAKE, {"private_key": "env:N"}, []),
        (PASSWORD, "snowflake", SNOWFLAKE, {"private_key": "env:N", "password": None}, []),
        (KEY_PAIR, "snowflake", SNOWFLAKE, {}, ["config.private_key", "config.private_key_passphrase"]),
        (KEY_PAIR, "snowflake", SNOWFLAKE, {"password": "env:N"}, []),
        (KEY_PAIR, "snowflake", SNOWFLAKE, {"private_key": "env:N"}, []),
        (KEY_PAIR, "snowflake", SNOWFLAKE, {"private_key_passphrase": "env:N"}, ["config.private_key"]),
        (
            KEY_PAIR,
            "snowflake",
            SNOWFLAKE,
            {"private_key": "***"},
            ["config.private_key", "config.private_key_passphrase"],
        ),
        (
            KEY_PAIR,
            "snowflake",
            SNOWFLAKE,
            {"private_key": "env:N", "private_key_passphrase": "stored"},
            ["config.private_key_passphrase"],
        ),
        (TOKEN, "databricks", DATABRICKS, {}, ["config.access_token"]),
        (TOKEN, "databricks", DATABRICKS, {"client_id": "c", "client_secret": "env:N"}, []),
        (PRINCIPAL, "databricks", DATABRICKS, {"client_id": "c"}, ["config.client_secret"]),
        (PRINCIPAL, "databricks", DATABRICKS, {"access_token": "env:N"}, []),
        (PROJECT, "bigquery", BIGQUERY, {}, ["config.service_account_key"]),
    ],
)
def test_giving_one_way_to_sign_in_leaves_the_other_out(
    held: Connection, provider: str, config: dict[str, str], secrets: dict[str, str | None], kept: list[str]
) -> None:
    document = connection(provider, config, **secrets)
    assert list(kept_paths(Connection, document, held)) == kept
    new = Connection.model_validate(with_stored(Connection, document, held))
    assert {path: secrets_of(new)[path] for path in kept} == {path: secrets_of(held)[path] for path in kept}


SNOWFLAKE_SECRETS = ("password", "private_key", "private_key_passphrase")


@given(
    held=st.sampled_from([PASSWORD, KEY_PAIR, stored("snowflake", SNOWFLAKE, private_key="env:K"), None]),
    given_=st.dictionaries(
        st.sampled_from(SNOWFLAKE_SECRETS), st.sampled_from([None, "***", "stored", "env:NEW", "file:/run/secrets/new"])
    ),
)
def test_what_is_given_stays_and_what_is_kept_was_stored(held: Connection | None, given_: dict[str, Any]) -> None:
    known = {} if held is None else secrets_of(held)
    document = connection("snowflake", SNOWFLAKE, **given_)
    try:
        kept = kept_paths(Connection, document, held)
    except DeclarationInvalid:
        assert any(given_.get(name) in {"***", "stored"} and f"config.{name}" not in known for name in given_)
        return
    config = with_stored(Connection, document, held)["config"]
    for name in SNOWFLAKE_SECRETS:
        path, was_given = f"config.{name}", given_.get(name)
        if path in kept:
            assert was_given in {None, "***", "stored"}
            assert config[name] == known[path]
        else:
            assert config.get(name) == was_given
            assert was_given not in {"***", "stored"}
    if not any(given_.values()):
        assert set(kept) == set(known), "a document without secrets keeps all"


@given(document=st.recursive(st.none() | st.text(max_size=3), lambda inner: st.dictionaries(st.text(), inner)))
def test_a_document_of_any_shape_is_left_to_be_refused_by_its_validation(document: Any) -> None:
    for config in (document, {"config": document}, {"service_provider": "snowflake", "config": document}):
        whole = config if isinstance(config, dict) else {}
        assert isinstance(with_stored(Connection, whole, PASSWORD), dict)
        take_plain(Connection, whole)


def test_neither_completing_nor_taking_apart_changes_what_was_given() -> None:
    document = connection("redshift", REDSHIFT, password="hunter2")
    with_stored(Connection, connection("redshift", REDSHIFT), CLUSTER)
    take_plain(Connection, document)
    assert document == connection("redshift", REDSHIFT, password="hunter2")


def test_plain_secrets_are_taken_out_and_references_stay() -> None:
    document, plain = take_plain(Connection, connection("redshift", REDSHIFT, password="hunter2"))
    assert plain == {"config.password": "hunter2"}
    assert "hunter2" not in str(document)
    assert secrets_of(Connection.model_validate(document)) != {}
    for reference in ("env:A", "file:/run/secrets/a", "sealed:0123456789abcdef:AAAA"):
        document, plain = take_plain(Feed, FEED | {"api_secret": reference})
        assert (document["api_secret"], plain) == (reference, {})


def test_a_kept_secret_is_not_shown_to_anybody_else() -> None:
    before = Feed.model_validate(FEED)
    elsewhere = Feed.model_validate(FEED | {"base_url": "https://s2s.eu1.mparticle.com/v2"})
    with pytest.raises(DeclarationInvalid, match=r"api_secret was given to be shown to .*us1.*eu1.*give the secret"):
        require_same_destination(elsewhere, before, ["api_secret"])
    require_same_destination(elsewhere, before)
    require_same_destination(elsewhere, None, ["api_secret"])
    require_same_destination(Feed.model_validate(FEED | {"name": "B"}), before, ["api_secret"])


def test_a_sealed_secret_that_is_given_once_more_counts_as_kept() -> None:
    sealed = f"sealed:0123456789abcdef:{'A' * 64}"
    before = Feed.model_validate(FEED | {"api_secret": sealed})
    elsewhere = FEED | {"base_url": "https://s2s.eu1.mparticle.com/v2"}
    with pytest.raises(DeclarationInvalid, match="give the secret again"):
        require_same_destination(Feed.model_validate(elsewhere | {"api_secret": sealed}), before)
    require_same_destination(Feed.model_validate(elsewhere | {"api_secret": f"{sealed}BBBB"}), before)
