"""All processes of a deployment on one machine, as the supervisor runs them.

One worker process a kind of work, as in production: extract and upload never share slots, and neither do the lanes.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox import flower as flowers
from sandbox.child import Program
from sandbox.home_keys import PRIVATE_KEYS
from shared.settings import PREFIX, Settings

_QUEUES: Final[Mapping[str, str]] = {
    "control": "control",
    "extract": "probe,extract",
    "upload": "upload",
    "extract-backfill": "extract.backfill",
    "upload-backfill": "upload.backfill",
}
_TELLS: Final = "control"
"""The queue whose worker sends alerts."""
_CHANNELS: Final = f"{PREFIX}ALERT_"
_FOR_WORKERS: Final = frozenset(
    {PRIVATE_KEYS, *(f"{PREFIX}ALERT_{name}" for name in ("WEBHOOK_URL", "WEBHOOK_SECRET", "SLACK_URL", "SMTP_URL"))}
)


@dataclass(frozen=True, slots=True)
class Size:
    """How many slots each kind of worker gets.

    Attributes:
        upload_processes: processes that upload, in each lane.
        threads: slots of the control worker and of each extract worker.
    """

    upload_processes: int = 2
    threads: int = 4


def workers(home: Path, environment: Mapping[str, str], *, size: Size) -> list[Program]:
    """Give the programs of every queue's worker and of beat; alerts' channels are told to the control worker only."""
    others = {name: value for name, value in environment.items() if not name.startswith(_CHANNELS)}
    told = {name: environment if queue == _TELLS else others for name, queue in _QUEUES.items()}
    programs = [_worker(home, told[name], name, queue, size) for name, queue in _QUEUES.items()]
    return [*programs, beat(home, environment)]


def beat(home: Path, environment: Mapping[str, str], *, name: str = "beat") -> Program:
    """Give a beat; any number of them, under names of their own, may run at once."""
    return _celery(home, without_secrets(environment), name, ("-A", "beat.app", "beat"), "beat: Starting")


def flower(
    home: Path, environment: Mapping[str, str], *, port: int, user: str, password: str, allows_control: bool = False
) -> Program:
    """Give Flower, on 127.0.0.1 only and behind a sign-in; the password travels in its environment."""
    state = home / "flower"
    state.mkdir(mode=0o700, exist_ok=True)
    protected = flowers.environment({**without_secrets(environment), flowers.USERS: f"{user}:{password}"})
    argv = flowers.Flower(port=port, state=state, allows_control=allows_control).argv()
    return Program("flower", argv, protected, home, ready=_says(home, "flower", "Visit me at"))


def api(home: Path, environment: Mapping[str, str], *, port: int) -> Program:
    """Give the API server, on 127.0.0.1 only."""
    argv = (sys.executable, "-c", "from console.cli import main; main()", "serve", "--port", str(port))
    return Program("api", argv, without_secrets(environment), home, ready=_says(home, "api", "Uvicorn running on"))


def feed(home: Path, environment: Mapping[str, str], *, port: int, arguments: tuple[str, ...] = ()) -> Program:
    """Give the stand-in mParticle; what it is told beyond its port are its own options."""
    argv = (sys.executable, "-m", "sandbox.feed", "--port", str(port), *arguments)
    return Program("mparticle", argv, without_secrets(environment), home, ready=_says(home, "mparticle", "listening"))


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Give an environment for processes without use for feeds', warehouses' and alerts' secrets, and private keys."""
    prefix = environment.get(f"{PREFIX}SECRET_ENV_PREFIX") or str(Settings.model_fields["secret_env_prefix"].default)
    own = Settings.model_fields.keys()
    return {
        name: value
        for name, value in environment.items()
        if name not in _FOR_WORKERS and (not name.startswith(prefix) or name.removeprefix(PREFIX).lower() in own)
    }


def _worker(home: Path, environment: Mapping[str, str], name: str, queue: str, size: Size) -> Program:
    is_upload = queue.startswith("upload")
    pool = ("prefork", size.upload_processes) if is_upload else ("threads", size.threads)
    arguments = (
        *("-A", "worker.app", "worker", "-n", f"{name}@%h", "-Q", queue),
        *("-P", pool[0], "-c", str(pool[1]), "--without-gossip", "--without-mingle"),
    )
    return _celery(home, environment, name, arguments, " ready.")


def _celery(home: Path, environment: Mapping[str, str], name: str, arguments: tuple[str, ...], ready: str) -> Program:
    return Program(
        name, (sys.executable, "-m", "celery", *arguments), environment, home, ready=_says(home, name, ready)
    )


def _says(home: Path, name: str, words: str) -> Callable[[], bool]:
    """Look for words in what a program writes to its log from now on."""
    path = home / "logs" / f"{name}.log"
    before = path.stat().st_size if path.exists() else 0

    def said() -> bool:
        if not path.exists():
            return False
        with path.open("rb") as file:
            file.seek(before)
            return words.encode() in file.read()

    return said
