import json
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import DeclarationInvalid
from shared.providers.bigquery import BigQueryConfig, read_key

ACCOUNT = "reader@my-project.iam.gserviceaccount.com"
DECLARED = {
    "project_id": "my-project",
    "dataset_id": "mp",
    "region": "us-east4",
    "service_account_id": ACCOUNT,
    "service_account_key": "env:WAREHOUSE_SYNC_SECRET_KEY",
}
KEY = {
    "type": "service_account",
    "client_email": ACCOUNT,
    "private_key": "-----BEGIN PRIVATE KEY-----\nvery private\n",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def config(**changed: Any) -> BigQueryConfig:
    return BigQueryConfig.model_validate(DECLARED | changed)


def read(**changed: Any) -> dict[str, Any]:
    return read_key("warehouse", config(), json.dumps(KEY | changed))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project_id", "my-project-123456"),
        ("project_id", "example.com:my-project"),
        ("dataset_id", "My_dataset_1"),
        ("region", "EU"),
        ("region", "aws-us-east-1"),
        ("service_account_id", "reader@my-project.iam.gserviceaccount.com"),
        ("service_account_id", "123-compute@developer.gserviceaccount.com"),
        ("service_account_key", "file:/run/secrets/key.json"),
        ("endpoint", "https://bigquery.example.p.googleapis.com"),
        ("endpoint", "http://127.0.0.1:9050"),
        ("storage_endpoint", "https://bigquerystorage.example.p.googleapis.com:443"),
    ],
)
def test_what_bigquery_calls_so_is_accepted(field: str, value: str) -> None:
    assert getattr(config(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("project_id", "My Project", "expected a project id like my-project-123456"),
        ("project_id", "123456789", "not its name or number"),
        ("dataset_id", "my-project.mp", "without the project"),
        ("dataset_id", "", "letters, digits and _"),
        ("region", "us east", "like us-east4, EU"),
        ("service_account_id", "reader", "reader@my-project-123456.iam.gserviceaccount.com"),
        ("service_account_id", "reader@example.com", "gserviceaccount.com"),
        ("service_account_key", '{"type": "service_account"}', "env:"),
        ("endpoint", "bigquery.googleapis.com", "https://warehouse.example.com:443"),
        ("endpoint", "http://warehouse.example.com", "use https"),
        ("storage_endpoint", "http://10.0.0.1:9060", "use https"),
    ],
)
def test_a_mistake_is_told_with_its_field_and_the_expected_form(field: str, value: str, expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**{field: value})
    (error,) = refused.value.errors()
    assert error["loc"] == (field,)
    assert expected in str(refused.value)


@pytest.mark.parametrize("field", DECLARED)
def test_nothing_that_is_needed_may_be_left_out(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        BigQueryConfig.model_validate({name: value for name, value in DECLARED.items() if name != field})


def test_hosts_beyond_googles_own_are_the_endpoints() -> None:
    assert config().hosts == ()
    declared = config(endpoint="https://bigquery.example.com", storage_endpoint="https://storage.example.com:8443")
    assert declared.hosts == ("bigquery.example.com", "storage.example.com")


def test_the_declared_accounts_key_is_accepted() -> None:
    assert read()["client_email"] == ACCOUNT


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("no json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "service_account"),
        (json.dumps(KEY | {"type": "authorized_user"}), "service_account"),
        (json.dumps(KEY | {"client_email": "other@my-project.iam.gserviceaccount.com"}), "client_email"),
        (json.dumps(KEY | {"universe_domain": "example.com"}), "universe_domain"),
    ],
)
def test_another_key_is_refused_without_showing_it(key: str, named: str) -> None:
    with pytest.raises(DeclarationInvalid) as refused:
        read_key("warehouse", config(), key)
    assert named in str(refused.value)
    assert ACCOUNT in str(refused.value)
    assert "private" not in str(refused.value)
    assert "other@" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/token",
        "https://oauth2.googleapis.com.example.com/token",
        "https://oauth2.googleapis.com@example.com/token",
        "https://example.com#oauth2.googleapis.com",
        "https://storage.googleapis.com/my-bucket/token",
        "http://oauth2.googleapis.com/token",
        "http://127.0.0.1:9050/token",
        "",
        None,
        7,
        ["https://oauth2.googleapis.com/token"],
    ],
)
def test_an_assertion_is_sent_to_google_only(address: object) -> None:
    with pytest.raises(DeclarationInvalid, match="token_uri"):
        read(token_uri=address)


def test_an_assertion_may_be_sent_to_a_declared_host() -> None:
    declared = config(endpoint="https://bigquery.example.com")
    key = json.dumps(KEY | {"token_uri": "https://bigquery.example.com/token"})
    assert read_key("warehouse", declared, key)["token_uri"] == "https://bigquery.example.com/token"
    with pytest.raises(DeclarationInvalid, match="token_uri"):
        read_key("warehouse", declared, key.replace("https:", "http:"))


def test_an_assertion_may_be_sent_to_this_machine_where_that_is_declared() -> None:
    key = json.dumps(KEY | {"token_uri": "http://127.0.0.1:9050/token"})
    assert read_key("warehouse", config(endpoint="http://127.0.0.1:9050"), key)["client_email"] == ACCOUNT
