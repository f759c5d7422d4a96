"""Declarations as a document again: what is declared, in the form in which people write it (pure).

Defaults are left out, durations are ``5m``, SQL stands as a block. Secrets are references as they are; of a sealed one
only the word ``stored`` is said. Reading the document gives the same declarations.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from console.declarations import KINDS, Resource
from shared.catalog import Connection, Full, Incremental, Pipeline
from shared.run import PipelineState
from shared.schedule import Cron, Interval, Once, OnDemand
from shared.sealing import SCHEME
from shared.secret_fields import STORED, secret_paths

if TYPE_CHECKING:
    _Dumper = yaml.SafeDumper
else:
    _Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

YAML: Final = "application/yaml"
"""What the API calls such a document."""
_UNITS: Final = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
)
_MOST_DIGITS: Final = 9
_WIDTH: Final = 1_000_000
"""Lines are never folded: folded SQL is nobody's SQL any more."""
_TOLD_BY_TYPE: Final = (Incremental, Full, Interval, Cron, Once, OnDemand)
_MOST_WHOLE: Final = 2**53


class Instant(str):
    """An instant as text, which YAML leaves without quotes."""

    __slots__ = ()


class _Writer(_Dumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - theirs
        return True


def _write_text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _write_instant(writer: yaml.SafeDumper, instant: Instant) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:timestamp", str(instant))


_Writer.add_representer(str, _write_text)
_Writer.add_representer(Instant, _write_instant)


def document_of(resources: Iterable[Resource], states: Mapping[str, PipelineState]) -> dict[str, list[dict[str, Any]]]:
    """Give a document that declares these resources, each kind by id; a pipeline that is no draft says its state."""
    lists: dict[str, list[dict[str, Any]]] = {}
    found = sorted(resources, key=lambda resource: resource.id)
    for name, kind in KINDS.items():
        entries = [_entry(resource, states) for resource in found if type(resource) is kind]
        if entries:
            lists[name] = entries
    return lists


def to_yaml(document: Mapping[str, Any]) -> str:
    """Write a document as YAML."""
    written: str = yaml.dump(
        dict(document), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False
    )
    return written


def _entry(resource: Resource, states: Mapping[str, PipelineState]) -> dict[str, Any]:
    entry = _written_model(resource)
    provider = resource.service_provider if isinstance(resource, Connection) else None
    for path in secret_paths(type(resource), provider):
        *above, last = path.split(".")
        inside = entry
        for name in above:
            inside = inside[name]
        if inside.get(last, "").startswith(SCHEME):
            inside[last] = STORED
    if isinstance(resource, Pipeline) and states.get(resource.id) in (PipelineState.ACTIVE, PipelineState.PAUSED):
        entry["state"] = str(states[resource.id])
    return entry


def _written_model(model: BaseModel) -> dict[str, Any]:
    fields = type(model).model_fields
    return {
        field.alias or name: _written(getattr(model, name), field)
        for name, field in fields.items()
        if not field.exclude and _is_said(model, name, field)
    }


def _is_said(model: BaseModel, name: str, field: FieldInfo) -> bool:
    """Whether a field is written: it is no default, or it tells which fields there are."""
    if isinstance(model, _TOLD_BY_TYPE) and name == "type":
        return True
    return bool(getattr(model, name) != field.get_default(call_default_factory=True))


def _written(value: Any, field: FieldInfo | None = None) -> Any:
    if isinstance(value, BaseModel):
        return _written_model(value)
    if isinstance(value, tuple | list):
        return [_written(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _written(entry) for key, entry in sorted(value.items())}
    return _written_scalar(value, is_any_number=field is not None and field.annotation is float)


def _written_scalar(value: Any, *, is_any_number: bool) -> Any:
    match value:
        case Enum():
            return value.value
        case timedelta():
            return _duration(value)
        case datetime():
            return _instant(value)
        case PurePath():
            return str(value)
        case float() if is_any_number and value.is_integer() and abs(value) < _MOST_WHOLE:
            return int(value)
        case _:
            return value


def _duration(value: timedelta) -> str:
    for unit, length in _UNITS:
        count, rest = divmod(value, length)
        if not rest and len(str(count)) <= _MOST_DIGITS and (count or unit == "s"):
            return f"{count}{unit}"
    return f"PT{value // timedelta(seconds=1)}.{value.microseconds:06}S"


def _instant(value: datetime) -> Instant:
    written = value.isoformat()
    return Instant(f"{written[: -len('+00:00')]}Z" if value.utcoffset() == timedelta(0) else written)
