"""Declarations from a YAML file: lists of feeds, connections, data models, field transformations and pipelines."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.catalog import Connection, DataModel, Feed, Pipeline
from shared.errors import DeclarationInvalid
from shared.transformation import FieldTransformation


class Declarations(BaseModel):
    """What one file declares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feeds: tuple[Feed, ...] = ()
    connections: tuple[Connection, ...] = ()
    data_models: tuple[DataModel, ...] = ()
    field_transformations: tuple[FieldTransformation, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()

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
    """Read a YAML file.

    Raises:
        DeclarationInvalid: the file cannot be read, is no YAML, or a field is wrong; the message names its path.
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
        return Declarations.model_validate(content)
    except ValidationError as error:
        reasons = "\n".join(
            f"  {'.'.join(str(part) for part in found['loc']) or 'file'}: {found['msg']}"
            for found in error.errors(include_input=False)
        )
        raise DeclarationInvalid(f"{path} declares something that cannot be:\n{reasons}") from error
