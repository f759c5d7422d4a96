"""Declarations from a YAML file: lists of feeds, connections, data models, field transformations and pipelines."""

import json
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from shared.catalog import Connection, DataModel, Feed, Pipeline
from shared.errors import DeclarationInvalid
from shared.transformation import FieldTransformation

_DOCUMENT_FILE: Final = "document_file"


class Declarations(BaseModel):
    """What one file declares."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    feeds: tuple[Feed, ...] = ()
    connections: tuple[Connection, ...] = ()
    data_models: tuple[DataModel, ...] = ()
    field_transformations: tuple[FieldTransformation, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()

    @model_validator(mode="after")
    def _declares_each_once(self) -> Self:
        for kind in type(self).model_fields:
            ids = [resource.id for resource in getattr(self, kind)]
            twice = sorted({shown for shown in ids if ids.count(shown) > 1})
            if twice:  # The last would win, and the others would be gone without a word.
                raise ValueError(f"{kind}: {', '.join(map(repr, twice))} stands there more than once; keep one")
        return self

    def in_order(self) -> tuple[Feed | Connection | DataModel | FieldTransformation | Pipeline, ...]:
        """Give everything declared, what is referred to first."""
        return (*self.feeds, *self.connections, *self.data_models, *self.field_transformations, *self.pipelines)


class _NoDuplicates(yaml.SafeLoader):
    """YAML lets a key stand twice and drops the first; that would drop declarations without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_declarations(path: Path) -> Declarations:
    """Read a YAML file, and the data plans that it names by paths relative to it.

    Raises:
        DeclarationInvalid: a file cannot be read, is no YAML, or a field is wrong; the message names its path.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _NoDuplicates) or {}  # noqa: S506 - a safe loader
    except OSError as error:
        raise DeclarationInvalid(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DeclarationInvalid(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise DeclarationInvalid(f"{path} is not YAML: {error}") from error
    try:
        declared = Declarations.model_validate(_with_data_plans(content, path.parent))
    except ValidationError as error:
        reasons = "\n".join(
            f"  {'.'.join(str(part) for part in found['loc']) or 'file'}: {_told(found)}"
            for found in error.errors(include_input=False)
        )
        raise DeclarationInvalid(f"{path} declares something that cannot be:\n{reasons}") from error
    if not declared.in_order():
        raise DeclarationInvalid(f"{path} declares nothing; expected some of {', '.join(Declarations.model_fields)}")
    return declared


def _told(found: ErrorDetails) -> str:
    """Say a mistake in the words of YAML, where pydantic's are Python's."""
    lists = ", ".join(Declarations.model_fields)
    match found["type"]:
        case "extra_forbidden" if len(found["loc"]) == 1:
            return f"no such list; a file has {lists}"
        case "extra_forbidden":
            return "no such field; docs/pipelines.md names them all"
        case "tuple_type":
            return "expected a list"
        case "model_type" if not found["loc"]:
            return f"expected a mapping with the lists {lists}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "expected a mapping of fields to values"
        case "too_short":
            return "expected at least one entry"
        case _:
            return found["msg"].removeprefix("Value error, ")


def _with_data_plans(content: Any, folder: Path) -> Any:
    """Put the documents of data plans where files of them are named; what is of another shape is left to be refused."""
    declared = content.get("pipelines") if isinstance(content, dict) else None
    if not isinstance(declared, list):
        return content
    return {**content, "pipelines": [_with_data_plan(pipeline, folder) for pipeline in declared]}


def _with_data_plan(pipeline: Any, folder: Path) -> Any:
    plan = pipeline.get("data_plan") if isinstance(pipeline, dict) else None
    if not isinstance(plan, dict) or not isinstance(named := plan.get(_DOCUMENT_FILE), str):
        return pipeline
    where = f"pipeline {pipeline.get('id')!r}: data_plan"
    if "document" in plan:
        raise DeclarationInvalid(f"{where} has a document and a {_DOCUMENT_FILE}; expected one of them")
    others = {name: part for name, part in plan.items() if name != _DOCUMENT_FILE}
    return {**pipeline, "data_plan": {**others, "document": _document(folder / named, where)}}


def _document(path: Path, where: str) -> Any:
    where = f"{where}.{_DOCUMENT_FILE}: {path}"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeclarationInvalid(f"{where} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise DeclarationInvalid(f"{where} is nested too deeply") from error
    except ValueError as error:  # No UTF-8, or no JSON.
        raise DeclarationInvalid(f"{where} is no JSON: {error}") from error
