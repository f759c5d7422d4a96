"""YAML files as plain values: which there are in a folder, and what each holds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from shared.errors import DeclarationInvalid

if TYPE_CHECKING:
    _Loader = yaml.SafeLoader
else:  # libyaml reads ten times as fast; not every build of PyYAML has it.
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_ENDINGS: Final = (".yaml", ".yml")


class _NoDuplicates(_Loader):
    """YAML lets a key stand twice and drops the first; that would drop declarations without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        known: set[Any] = set()
        for key in keys:
            if isinstance(key, str) and key in known:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands there twice", node.start_mark)
            if isinstance(key, str):
                known.add(key)
        return super().construct_mapping(node, deep)


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Give the files that paths name, each once; of a folder the ``*.yaml`` and ``*.yml`` in it, however deep, by name.

    Raises:
        DeclarationInvalid: a folder holds none.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in _ENDINGS and one.is_file())
            if not inside:
                raise DeclarationInvalid(
                    f"folder {path} holds no {' or '.join(f'*{ending}' for ending in _ENDINGS)} file"
                )
        for one in inside:
            found.setdefault(one.resolve(), one)
    return list(found.values())


def load_yaml(path: Path) -> Any:
    """Give what a YAML file holds.

    Raises:
        DeclarationInvalid: it cannot be read, or is no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _NoDuplicates)  # noqa: S506 - a safe loader
    except OSError as error:
        raise DeclarationInvalid(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DeclarationInvalid(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except RecursionError as error:
        raise DeclarationInvalid(f"{path} is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that the calendar does not have.
        raise DeclarationInvalid(f"{path} is not YAML: {error}") from error


def load_json(path: Path) -> Any:
    """Give what a JSON file holds.

    Raises:
        DeclarationInvalid: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeclarationInvalid(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise DeclarationInvalid(f"{path} is nested too deeply") from error
    except ValueError as error:  # No UTF-8, or no JSON.
        raise DeclarationInvalid(f"{path} is no JSON: {error}") from error
