"""What the project pulls in: what its distributions ask for, and what constraints.txt pins."""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
OUR_NAME: Final = "warehouse-sync"
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: Final[dict[str, list[str]]] = PYPROJECT["project"]["optional-dependencies"]
PINS: Final[dict[str, str]] = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}


def closure(*extras: str) -> dict[str, Distribution]:
    """Give what is installed because the project or one of these extras asks for it, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(OUR_NAME, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in requirements(name, extra):
            needed = canonicalize_name(requirement.name)
            if needed != OUR_NAME:
                try:
                    found[needed] = distribution(needed)
                except PackageNotFoundError:  # An extra of somebody's that nobody asked for, or another platform's.
                    continue
            waiting += [(needed, more) for more in ("", *requirement.extras)]
    return found


def requirements(name: str, extra: str) -> list[Requirement]:
    """Give what a distribution asks for, or one of its extras; of ours, what pyproject.toml says now."""
    if name == OUR_NAME:
        return [Requirement(line) for line in EXTRAS.get(extra, PYPROJECT["project"]["dependencies"])]
    told = map(Requirement, distribution(name).requires or [])
    return [one for one in told if one.marker is None or one.marker.evaluate({"extra": extra})]
