from typing import Any

import pytest
from pydantic import ValidationError

from shared.catalog import Connection
from shared.providers.redshift import RedshiftConfig

HOST = "my-cluster.abc123.us-east-1.redshift.amazonaws.com"
LEAST = {"host": HOST, "database": "mp", "user": "sync", "password": "env:WAREHOUSE_SYNC_SECRET_REDSHIFT"}


def config(**changes: Any) -> RedshiftConfig:
    return RedshiftConfig.model_validate({**LEAST, **changes})


def test_the_least_declaration_verifies_the_host_on_the_usual_port() -> None:
    declared = config()
    assert (declared.port, declared.tls, declared.aws_iam_role_arn) == (5439, "verify-full", None)


def test_a_connection_names_its_provider_in_any_case() -> None:
    declared = {"id": "r", "name": "R", "service_provider": "Redshift", "config": LEAST}
    connection = Connection.model_validate(declared)
    assert isinstance(connection.config, RedshiftConfig)
    assert connection.model_dump(mode="json")["config"] == config().model_dump(mode="json")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("host", f"https://{HOST}", "expected a host name like"),
        ("host", f"{HOST}:5439", "without scheme, port or path"),
        ("host", f"{HOST}/dev", "without scheme, port or path"),
        ("host", "user@host", "expected a host name like"),
        ("host", "", "expected a host name like"),
        ("port", 0, "greater than or equal to 1"),
        ("port", 65536, "less than or equal to 65535"),
        ("database", "", "at least 1 character"),
        ("user", "", "at least 1 character"),
        ("password", "plain text", "env:"),
        ("aws_iam_role_arn", "my-role", "arn:aws:iam::123456789012:role/my-role"),
        ("aws_iam_role_arn", "arn:aws:iam::12345:role/my-role", "arn:aws:iam::123456789012:role/my-role"),
        ("tls", "prefer", "'verify-full', 'verify-ca' or 'off'"),
        ("schema", "public", "not permitted"),
    ],
)
def test_a_mistake_is_told_by_its_field_and_the_expected_form(field: str, value: object, expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**{field: value})
    (error,) = refused.value.errors()
    assert error["loc"] == (field,)
    assert expected in error["msg"]


@pytest.mark.parametrize("field", list(LEAST))
def test_nothing_of_the_least_may_be_left_out(field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RedshiftConfig.model_validate({name: value for name, value in LEAST.items() if name != field})
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_a_role_of_any_of_awss_partitions_is_kept(partition: str) -> None:
    role = f"arn:{partition}:iam::123456789012:role/path/my-role"
    assert config(aws_iam_role_arn=role).aws_iam_role_arn == role


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        HOST.upper(),
        "my-group.123456789012.eu-west-1.redshift-serverless.amazonaws.com",
        "my-cluster.abc123.cn-north-1.redshift.amazonaws.com.cn",
        "my-group.123456789012.cn-north-1.redshift-serverless.amazonaws.com.cn",
    ],
)
def test_redshifts_own_hosts_need_no_allowance(host: str) -> None:
    assert config(host=host).hosts == ()


@pytest.mark.parametrize(
    "host",
    [
        "redshift.example.com",
        "127.0.0.1",
        "evil-redshift.amazonaws.com",
        "ec2-1-2-3-4.cn-north-1.compute.amazonaws.com.cn",
        "ec2-1-2-3-4.compute-1.amazonaws.com",
        f"{HOST}.example.com",
    ],
)
def test_other_hosts_must_be_allowed(host: str) -> None:
    assert config(host=host).hosts == (host,)
