"""docker-compose.yml as Docker Compose reads it, as far as this project uses it: merged, interpolated, by service."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "docker-compose.yml"
EXAMPLE: Final = ROOT / ".env.example"

_VARIABLE: Final = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<rule>:-|:\?)(?P<rest>[^}]*))?\})")


class Missing(Exception):
    """A variable that must be set is not; the sentence is Compose's."""


@dataclass(frozen=True)
class Service:
    """One service, everything in it interpolated."""

    name: str
    told: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.told.get("environment", {}))

    @property
    def command(self) -> list[str]:
        return [*self.told.get("entrypoint", []), *self.told.get("command", [])]

    @property
    def networks(self) -> list[str]:
        return list(self.told["networks"])

    @property
    def mounts(self) -> dict[str, str]:
        """What is mounted, by where."""
        return {mount["target"]: mount["source"] for mount in self.told.get("volumes", [])}

    @property
    def is_ours(self) -> bool:
        return str(self.told["image"]).startswith("warehouse-sync:")

    @property
    def runs_once(self) -> bool:
        return bool(self.told["restart"] == "no")


def document() -> dict[str, Any]:
    """Give the file as it stands, with YAML's own merges done."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    """Give all services, interpolated.

    Raises:
        Missing: a variable that must be set is not, or is empty.
    """
    told = interpolated(document()["services"], variables)
    return {name: Service(name, service) for name, service in told.items()}


def example() -> dict[str, str]:
    """Give the variables of .env.example, with their defaults."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def filled() -> dict[str, str]:
    """Give .env.example with what the required ones need."""
    return example() | dict.fromkeys(required(), "0123456789abcdef")


def required() -> set[str]:
    """Give the variables without which nothing starts."""
    return {match["name"] for match in _VARIABLE.finditer(FILE.read_text()) if match["rule"] == ":?"}


def named() -> dict[str, str | None]:
    """Give every variable that the file names, with its default there."""
    return {
        match["name"]: match["rest"] if match["rule"] == ":-" else None
        for match in _VARIABLE.finditer(FILE.read_text())
        if match["name"]
    }


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """Replace ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?sentence}`` in every text."""
    if isinstance(value, dict):
        return {name: interpolated(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]
    return _VARIABLE.sub(lambda match: _replaced(match, variables), value) if isinstance(value, str) else value


def _replaced(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    found = variables.get(match["name"], "")
    if found or match["rule"] is None:
        return found
    if match["rule"] == ":?":
        raise Missing(f"required variable {match['name']} is missing a value: {match['rest']}")
    return str(match["rest"])
