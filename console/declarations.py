"""Declarations from a YAML file: lists of feeds, connections, data models and pipelines."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.catalog import Connection, DataModel, Feed, Pipeline
from shared.errors import DeclarationInvalid


class Declarations(BaseModel):
    """What one file declares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feeds: tuple[Feed, ...] = ()
    connections: tuple[Connection, ...] = ()
    data_models: tuple[DataModel, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()

    def in_order(self) -> tuple[Feed | Connection | DataModel | Pipeline, ...]:
        """Give everything declared, what is referred to first."""
        return (*self.feeds, *self.connections, *self.data_models, *self.pipelines)


def read_declarations(path: Path) -> Declarations:
    """Read a YAML file.

    Raises:
        DeclarationInvalid: the file cannot be read, is no YAML, or a field is wrong; the message names its path.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise DeclarationInvalid(f"{path} cannot be read: {error.strerror}") from error
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
