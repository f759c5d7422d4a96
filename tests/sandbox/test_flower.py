"""Flower starts behind a sign-in or not at all, and with no secret that it has no use for."""

from pathlib import Path

import pytest

from sandbox import flower, stack
from sandbox.flower import USERS, USERS_FILE, Flower, environment
from sandbox.home_keys import PRIVATE_KEYS
from shared.errors import DeclarationInvalid, MoveNotAllowed, SecretUnavailable

OAUTH = {
    "FLOWER_AUTH": "ann@example.com",
    "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
    "FLOWER_OAUTH2_KEY": "key",
    "FLOWER_OAUTH2_SECRET": "s3cret",
    "FLOWER_OAUTH2_REDIRECT_URI": "https://flower.example.com/login",
}


@pytest.mark.parametrize("lacking", [{}, {"FLOWER_BASIC_AUTH": ""}, {USERS: " , "}, *[{n: "x"} for n in OAUTH]])
def test_without_a_sign_in_it_does_not_start_and_says_how_to_give_one(lacking: dict[str, str]) -> None:
    with pytest.raises(MoveNotAllowed, match=f"{USERS_FILE}.*{USERS}.*FLOWER_BASIC_AUTH.*FLOWER_AUTH_PROVIDER"):
        environment(lacking)


def test_users_come_from_variables_and_from_a_mounted_file(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("ann:a:b\n\n bob:c \n")
    inherited = {"FLOWER_BASIC_AUTH": "cy:d", USERS: "dee:e,eve:f", USERS_FILE: str(path), "PATH": "/bin"}
    assert environment(inherited) == {"FLOWER_BASIC_AUTH": "cy:d,dee:e,eve:f,ann:a:b,bob:c", "PATH": "/bin"}


def test_oauth_will_do_and_its_secret_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    by_file = {name: value for name, value in OAUTH.items() if name != "FLOWER_OAUTH2_SECRET"}
    by_file["FLOWER_OAUTH2_SECRET_FILE"] = str(path)
    assert environment(by_file) == environment(OAUTH) == OAUTH


@pytest.mark.parametrize("user", ["hunter2", "ann:", ":hunter2", "ann:hünter2"])
def test_a_user_whom_flower_could_not_tell_is_refused_unrepeated(user: str) -> None:
    with pytest.raises(DeclarationInvalid, match=USERS) as refused:
        environment({USERS: user})
    assert "nter2" not in str(refused.value)


def test_a_comma_in_a_files_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:hunter,2")
    with pytest.raises(DeclarationInvalid, match="comma"):
        environment({USERS_FILE: str(tmp_path / "users")})


def test_of_a_file_the_line_is_named_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("ann:a\nhunter2\n")
    with pytest.raises(DeclarationInvalid, match="users, line 2: expected user:password") as refused:
        environment({USERS_FILE: str(path)})
    assert "hunter2" not in str(refused.value)
    path.write_text("\n")
    with pytest.raises(DeclarationInvalid, match="users names nobody"):
        environment({USERS_FILE: str(path)})


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SecretUnavailable, match=f"{USERS_FILE}: /nowhere/users cannot be read"):
        environment({USERS_FILE: "/nowhere/users"})


def test_it_holds_no_secret_of_others_and_nothing_that_undoes_its_options() -> None:
    inherited = {
        USERS: "ann:a",
        "WAREHOUSE_SYNC_SECRET_FEED": "x",
        PRIVATE_KEYS: "x",
        "WAREHOUSE_SYNC_DATABASE_URL": "x",
        "WAREHOUSE_SYNC_API_TOKEN": "x",
        "WAREHOUSE_SYNC_BROKER_URL": "redis://broker",
        "FLOWER_PORT": "tcp://10.0.0.7:5555",
        "FLOWER_UNAUTHENTICATED_API": "true",
        "FLOWER_READ_ONLY": "false",
        "FLOWER_DEBUG": "true",
    }
    assert environment(stack.without_secrets(inherited)) == {
        "FLOWER_BASIC_AUTH": "ann:a",
        "WAREHOUSE_SYNC_BROKER_URL": "redis://broker",
    }


def test_it_is_read_only_and_remembers_little_unless_told_otherwise(tmp_path: Path) -> None:
    argv = Flower(state=tmp_path).argv()
    assert argv[1:6] == ("-m", "celery", "-A", "worker.app", "flower")
    told = dict(option.removeprefix("--").split("=") for option in argv[6:])
    assert told == {
        "conf": str(Path(flower.__file__).with_name("flower_conf.py")),
        "address": "127.0.0.1",
        "port": "5555",
        "max_tasks": "10000",
        "read_only": "true",
        "xheaders": "false",
        "persistent": "true",
        "db": str(tmp_path / "flower"),
        "state_save_interval": "60000",
    }
    asked = Flower(address="0.0.0.0", url_prefix="/flower/", allows_control=True, is_proxied=True).argv()  # noqa: S104
    assert {"--read_only=false", "--url_prefix=flower", "--xheaders=true", "--persistent=false"} < set(asked)
