"""Flower as we run it: behind a sign-in, read-only unless control is allowed, and remembering what it saw.

The one place that says so: ``warehouse-sync flower`` becomes this process, and ``up`` and the tests start it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import DeclarationInvalid, MoveNotAllowed, SecretUnavailable
from shared.settings import PREFIX

USERS: Final = f"{PREFIX}FLOWER_USERS"
USERS_FILE: Final = f"{PREFIX}FLOWER_USERS_FILE"
DEFAULT_PORT: Final = 5555
MAX_TASKS: Final = 10_000
"""Tasks that Flower remembers, which bounds its memory and the file of its state; its own default is 100,000."""
STATE_EVERY_S: Final = 60
"""How often its state is saved; a Flower that is killed forgets so much."""

_CONFIGURATION: Final = Path(__file__).with_name("flower_conf.py")
_BASIC_AUTH: Final = "FLOWER_BASIC_AUTH"
_OAUTH: Final = (
    "FLOWER_AUTH",
    "FLOWER_AUTH_PROVIDER",
    "FLOWER_OAUTH2_KEY",
    "FLOWER_OAUTH2_SECRET",
    "FLOWER_OAUTH2_REDIRECT_URI",
)
_SECRET_FILES: Final = ("FLOWER_OAUTH2_SECRET", "FLOWER_COOKIE_SECRET")
_OURS: Final = frozenset(
    {
        "FLOWER_ADDRESS", "FLOWER_CONF", "FLOWER_DB", "FLOWER_MAX_TASKS", "FLOWER_PERSISTENT", "FLOWER_READ_ONLY",
        "FLOWER_STATE_SAVE_INTERVAL", "FLOWER_URL_PREFIX", "FLOWER_XHEADERS",
        # In Kubernetes a service named flower sets it for every container, to what is no port.
        "FLOWER_PORT",
        # These would take the sign-in away again, or show what went wrong inside to whoever asks.
        "FLOWER_DEBUG", "FLOWER_UNAUTHENTICATED_API", "FLOWER_UNIX_SOCKET",
    }
)  # fmt: skip
"""Variables of Flower's own that the options decide."""
_NEEDLESS: Final = frozenset({f"{PREFIX}DATABASE_URL", f"{PREFIX}API_TOKEN", USERS, USERS_FILE})
"""Variables that may hold a secret which Flower has no use for."""


@dataclass(frozen=True, slots=True)
class Flower:
    """Where Flower listens, and what it lets whoever has signed in do.

    Attributes:
        state: folder in which it keeps what it saw; without, it forgets when it ends.
        url_prefix: the path under which a proxy shows it.
        is_proxied: a proxy is in front of it, whose ``X-Real-Ip`` and ``X-Scheme`` are believed.
        allows_control: whether tasks may be sent and revoked, and workers be told what to do.
    """

    port: int = DEFAULT_PORT
    address: str = "127.0.0.1"
    state: Path | None = None
    url_prefix: str = ""
    is_proxied: bool = False
    allows_control: bool = False
    max_tasks: int = MAX_TASKS
    certificate: Path | None = None
    key: Path | None = None

    def argv(self) -> tuple[str, ...]:
        """Give the command; no secret is in it."""
        options: dict[str, object] = {
            "conf": _CONFIGURATION,
            "address": self.address,
            "port": self.port,
            "max_tasks": self.max_tasks,
            "read_only": not self.allows_control,
            "xheaders": self.is_proxied,
            "persistent": self.state is not None,
        }
        if self.state is not None:
            options |= {"db": self.state / "flower", "state_save_interval": STATE_EVERY_S * 1000}
        if self.url_prefix.strip("/"):
            options["url_prefix"] = self.url_prefix.strip("/")
        if self.certificate is not None and self.key is not None:
            options |= {"certfile": self.certificate, "keyfile": self.key}
        told = [
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()
        ]
        return (sys.executable, "-m", "celery", "-A", "worker.app", "flower", *told)


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Give Flower's environment, with who may sign in and without what it has no use for.

    Raises:
        MoveNotAllowed: nobody could be asked to sign in.
        DeclarationInvalid: somebody has no password, or one that Flower cannot read.
        SecretUnavailable: a file that holds a secret cannot be read.
    """
    ours = {name: value for name, value in inherited.items() if name not in _OURS | _NEEDLESS}
    for name in _SECRET_FILES:
        if path := ours.pop(f"{name}_FILE", ""):
            ours[name] = _read(f"{name}_FILE", path).strip()
    if users := _users(inherited):
        ours[_BASIC_AUTH] = ",".join(users)
    elif not all(ours.get(name) for name in _OAUTH):
        raise MoveNotAllowed(
            f"whoever reaches Flower could use it: nobody is asked to sign in. Name a file with user:password, one a "
            f"line, in {USERS_FILE}, or set {USERS} or {_BASIC_AUTH} to user:password, or set all of "
            f"{', '.join(_OAUTH)} for OAuth"
        )
    return ours


def _users(inherited: Mapping[str, str]) -> list[str]:
    """Give everybody who may sign in, as user:password, wherever they are named."""
    given = [
        (f"{name}, user {no}", user)
        for name in (_BASIC_AUTH, USERS)
        for no, user in enumerate(inherited.get(name, "").split(","), 1)
    ]
    if path := inherited.get(USERS_FILE):
        lines = _read(USERS_FILE, path).splitlines()
        if not any(map(str.strip, lines)):
            raise DeclarationInvalid(f"{path} names nobody; write user:password into it, one a line")
        given += [(f"{path}, line {no}", line) for no, line in enumerate(lines, 1)]
    named = [(place, user.strip()) for place, user in given if user.strip()]
    for place, user in named:
        _require_readable(place, user)
    return [user for _, user in named]


def _require_readable(place: str, user: str) -> None:
    """Raise unless Flower can tell this user from others; what was given is not repeated."""
    who, _, password = user.partition(":")
    if not who or not password:
        raise DeclarationInvalid(f"{place}: expected user:password, both with something in it")
    if "," in user or not user.isascii():
        raise DeclarationInvalid(
            f"{place}: a user or a password has a comma, or other characters than ASCII's, which Flower cannot read"
        )


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SecretUnavailable(f"{name}: {path} cannot be read ({said})") from None
