"""YAML files as plain values: which there are in a folder, and what each holds."""

import json
import re
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


class _StandsTwice(yaml.constructor.ConstructorError):
    """Names a key, which is told as it is."""


class _NoDuplicates(_Loader):
    """YAML lets a key stand twice and drops the first; that would drop declarations without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - theirs
        keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        known: set[Any] = set()
        for key in keys:
            if isinstance(key.value, str) and key.value in known:
                raise _StandsTwice(None, None, f"{key.value!r} stands there twice", key.start_mark)
            if isinstance(key.value, str):
                known.add(key.value)
        return super().construct_mapping(node, deep)

    def refuse_tag(self, node: yaml.Node) -> None:
        # PyYAML's own sentence names the tag, and an unquoted password that begins with ! is one.
        problem = "what begins with ! is a tag, and none is known here; put a text that begins so in quotes"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_NoDuplicates.add_constructor(None, _NoDuplicates.refuse_tag)


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
    except yaml.MarkedYAMLError as error:
        raise DeclarationInvalid(f"{path} is not YAML: {_told(error)}") from error
    except yaml.YAMLError as error:  # A character that YAML does not allow; the reader names it by its number.
        raise DeclarationInvalid(f"{path} is not YAML: {error}") from error
    except (ValueError, KeyError, AttributeError) as error:
        # How PyYAML fails at a date that the calendar does not have, and at words behind !!int, !!bool and !!timestamp.
        # Python's own sentence may quote them, so it is not told.
        problem = "a value looks like a date, a number or a truth value and is none; put it in quotes if it is a text"
        raise DeclarationInvalid(f"{path} is not YAML: {problem}") from error


def _told(error: yaml.MarkedYAMLError) -> str:
    """Give what is wrong and where, without words of the file: they may be of a secret that lacks its quotes.

    The error's own text has them: PyYAML without libyaml shows the line, and quotes aliases and tags.
    """
    problem = error.problem or "it cannot be read"
    if not isinstance(error, _StandsTwice):
        problem = re.sub(r" ?'[^']{2,}'", "", problem)
    said = ", ".join(part for part in (error.context, problem) if part)
    where = error.problem_mark or error.context_mark
    return said if where is None else f"line {where.line + 1}, column {where.column + 1}: {said}"


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
