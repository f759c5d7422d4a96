"""Mistakes in declarations, in words of YAML and by the field's path, where pydantic's are Python's."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_INSTANT: Final = "expected an instant with its zone, such as 2026-01-31T06:00:00Z"
_TEXT: Final = "expected a text; put it in quotes if it looks like a number or a date"
_SAID: Final[Mapping[str, str]] = {
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "model_type": "expected a mapping of fields to values",
    "model_attributes_type": "expected a mapping of fields to values",
    "dict_type": "expected a mapping of fields to values",
    "too_short": "expected at least one entry",
    "string_type": _TEXT,
    "string_too_short": "expected a text that is not empty",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "timezone_aware": _INSTANT,
    "datetime_type": _INSTANT,
    "datetime_parsing": _INSTANT,
    "datetime_from_date_parsing": _INSTANT,
    "datetime_object_invalid": _INSTANT,
}
_BOUNDS: Final[Mapping[str, str]] = {
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected {le} at most",
    "string_too_long": "expected {max_length} characters at most",
}
_PATTERNS: Final[Mapping[str, str]] = {
    "^[A-Za-z0-9_-]": "expected letters, digits, _ and - only, 128 at most",
    "^(env:": "expected a reference, env:NAME or file:/absolute/path; a secret itself never stands in a file",
}
"""By how a pattern begins."""
_DAYS: Final = re.compile(r"datetime\.timedelta\((?:days=([0-9]+)|0)\)")
_OF_A_FIELD: Final = re.compile(r"([a-z_]+)((?:\.[a-z_]+)*): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where: ``pipelines.0 (users).sync_mode.iterator_field``; ``file`` if it was in one."""

    path: str
    reason: str
    file: str | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.path or 'file'}: {self.reason}"


def mistakes_of(error: ValidationError, kind: type[BaseModel], content: Any) -> list[Mistake]:
    """Give what pydantic found, in the words of YAML; no value is repeated, since it may be a secret."""
    told: dict[str, Mistake] = {}
    for found in error.errors(include_url=False):
        mistake = _mistake(found, kind, content)
        # Of a value of several types each type has its say, and a list whose entries are wrong counts as short.
        if not (found["type"] == "too_short" and any(path.startswith(f"{mistake.path}.") for path in told)):
            told.setdefault(mistake.path, mistake)
    for path in [path for path in told if path.endswith(".config.service_provider")]:
        if path.replace(".config", "") in told:  # It is said of the connection already.
            del told[path]
    return list(told.values())


def path_of(parts: Sequence[str | int], content: Any) -> str:
    """Write a path; an entry of a list that has an id is known by both."""
    written: list[str] = []
    for part in parts:
        content = _inside(content, part)
        named = content.get("id") if isinstance(part, int) and isinstance(content, dict) else None
        written.append(f"{part} ({named})" if isinstance(named, str) else str(part))
    return ".".join(written)


def nearest(name: str, known: Sequence[str]) -> str:
    """Ask whether the nearest of the known names was meant; nothing where none is near."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _mistake(found: ErrorDetails, kind: type[BaseModel], content: Any) -> Mistake:
    way = _walk(kind, found["loc"])
    reason = _reason(found, way)
    if found["type"].startswith("union_tag"):
        way.parts.append(found["ctx"]["discriminator"].strip("'"))
    split = _OF_A_FIELD.fullmatch(reason) if found["type"] == "value_error" else None
    if split is not None and way.at is not None and split[1] in _names(way.at):
        return Mistake(path_of([*way.parts, f"{split[1]}{split[2]}"], content), split[3])
    return Mistake(path_of(way.parts, content), reason)


def _reason(found: ErrorDetails, way: "_Way") -> str:
    context = found.get("ctx", {})
    if way.is_of_several_types:
        described = "" if way.field is None else way.field.description or ""
        return f"expected another type of value{f': {described}' if described else ''}"
    match found["type"]:
        case "extra_forbidden":
            return _unknown(str(way.parts[-1]), _names(way.owner))
        case "missing":
            return f"missing{'' if way.field is None or not way.field.description else f': {way.field.description}'}"
        case "union_tag_invalid" | "union_tag_not_found":
            return f"expected one of {', '.join(map(repr, _tags(way.field)))}"
        case "enum" | "literal_error":
            return f"expected {context['expected']}{_near(found['input'], context['expected'])}"
        case "string_pattern_mismatch":
            said = (said for begins, said in _PATTERNS.items() if context["pattern"].startswith(begins))
            return next(said, found["msg"])
        case named:
            if named in _BOUNDS:
                return _BOUNDS[named].format(**{name: _bound(value) for name, value in context.items()})
            return _SAID.get(named) or found["msg"].removeprefix("Value error, ")


def _bound(value: Any) -> str:
    if isinstance(value, str) and (days := _DAYS.fullmatch(value)):  # That is how pydantic writes a duration here.
        return f"{days[1]} days" if days[1] else "0"
    return f"{value:,g}" if isinstance(value, float) else str(value)


def _unknown(name: str, known: Sequence[str]) -> str:
    return "no such field" + (nearest(name, known) or f"; there are {', '.join(known)}")


def _near(given: Any, expected: str) -> str:
    return nearest(given, re.findall(r"'([^']*)'", expected)) if isinstance(given, str) else ""


@dataclass(slots=True)
class _Way:
    """Where a mistake is: its path as YAML has it, the last field on it and whose, and the model that it leads to."""

    parts: list[str | int]
    owner: type[BaseModel]
    field: FieldInfo | None
    at: type[BaseModel] | None
    is_of_several_types: bool = False


def _walk(kind: type[BaseModel], loc: Sequence[str | int]) -> _Way:
    """Follow a mistake's place through the models; what only pydantic sees there (a union's members) is left out."""
    rest = list(loc)
    at: Any = kind
    way = _Way([], kind, None, kind)
    while rest:
        if isinstance(at, type) and issubclass(at, BaseModel):
            way.owner, name = at, str(rest.pop(0))
            way.parts.append(name)
            way.field = _field(at, name)
            if way.field is None:
                way.parts += rest
                way.at = None
                return way
            at = _bare(way.field.annotation)
            if way.field.discriminator is not None and rest:
                at = _member(way.field, str(rest.pop(0)))
        elif get_origin(at) in (tuple, list):
            way.parts.append(rest.pop(0))
            at = _bare(get_args(at)[0])
        elif get_origin(at) is dict:
            way.parts.append(rest.pop(0))
            at = _bare(get_args(at)[1])
        else:
            way.is_of_several_types = get_origin(at) in (Union, UnionType)
            break
    way.at = at if isinstance(at, type) and issubclass(at, BaseModel) else None
    return way


def _names(kind: type[BaseModel]) -> list[str]:
    """Give the fields that people may write; what is neither kept nor shown is ours."""
    return [field.alias or name for name, field in kind.model_fields.items() if not field.exclude or field.repr]


def _field(kind: type[BaseModel], name: str) -> FieldInfo | None:
    return next((field for known, field in kind.model_fields.items() if name in (known, field.alias)), None)


def _bare(annotation: Any) -> Any:
    """Give a type without its notes, and without ``None`` where that is the only alternative."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _member(field: FieldInfo, tag: str) -> Any:
    return next((member for member in get_args(_bare(field.annotation)) if tag in _tags_of(member, field)), None)


def _tags(field: FieldInfo | None) -> list[str]:
    if field is None:
        return []
    return [tag for member in get_args(_bare(field.annotation)) for tag in _tags_of(member, field)]


def _tags_of(member: Any, field: FieldInfo) -> tuple[str, ...]:
    tags: tuple[str, ...] = get_args(member.model_fields[str(field.discriminator)].annotation)
    return tags


def _inside(content: Any, part: str | int) -> Any:
    if isinstance(content, Mapping):
        return content.get(part)
    is_entry = isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)
    return content[part] if is_entry else None
