"""Virtual environments of the stand-ins that cannot share ours, made at first use from ``requirements/<name>.txt``.

They lie in ``.standins`` in the checkout, or where ``WAREHOUSE_SYNC_STANDINS`` says, and are made anew when their
requirements change.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_HOME = "WAREHOUSE_SYNC_STANDINS"


def python_of(name: str) -> Path:
    """Give the interpreter of a stand-in's environment, complete with its requirements."""
    requirements = _HERE / "requirements" / f"{name}.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    home = Path(os.environ.get(_HOME, _HERE.parents[1] / ".standins")).resolve()
    home.mkdir(parents=True, exist_ok=True)
    folder = home / name
    python, mark = folder / "bin" / "python", folder / "installed"
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.is_file() or mark.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements))
            mark.write_text(wanted)
    return python


def _run(*command: str) -> None:
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; a stand-in cannot be set up without it:\n{ran.stdout[-4000:]}")
