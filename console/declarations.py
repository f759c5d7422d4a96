"""Declarations from YAML files, or from the same as JSON: lists of all that people declare.

A document is read whole: every mistake in every file is told at once, by the field's path. A pipeline may also say the
``state`` that it should be in; that is a wish about its life, and no part of what is declared.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from console.mistakes import Mistake, mistakes_of, nearest, path_of
from console.yaml_files import files_in, load_json, load_yaml
from shared.catalog import Connection, DataModel, Pipeline
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.fields import GIVEN
from shared.run import PipelineState
from shared.secret_fields import STORED, secret_paths
from shared.transformation import FieldTransformation

Resource = Feed | Connection | DataModel | FieldTransformation | Pipeline

_DOCUMENT_FILE: Final = "document_file"
_PLACEHOLDER: Final = "env:STORED"
"""In the place of a secret that the deployment has: it makes a document valid, and nothing ever resolves it."""


class PipelineEntry(Pipeline):
    """A pipeline as a document declares it: with the state that it should be in."""

    state: Literal["draft", "active", "paused"] | None = Field(
        None, exclude=True, description="what it should be; unset: it stays as it is, and a new one is a draft"
    )

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline without the wish."""
        fields = {name: getattr(self, name) for name in Pipeline.model_fields}
        return Pipeline.model_construct(self.model_fields_set - {"state"}, **fields)


class Declarations(BaseModel):
    """What a document declares; each list may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    feeds: tuple[Feed, ...] = Field((), description="mParticle inputs: where batches go, and as whom")
    connections: tuple[Connection, ...] = Field((), description="warehouses and how to sign in")
    data_models: tuple[DataModel, ...] = Field((), description="SQL queries over a connection's warehouse")
    field_transformations: tuple[FieldTransformation, ...] = Field(
        (), description="what the columns of event data models become"
    )
    pipelines: tuple[PipelineEntry, ...] = Field((), description="models' rows on their way to feeds")
    _kept: dict[tuple[type[BaseModel], str], tuple[str, ...]] = PrivateAttr(default_factory=dict)
    _places: dict[tuple[type[BaseModel], str], Mistake] = PrivateAttr(default_factory=dict)

    def in_order(self) -> tuple[Resource, ...]:
        """Give everything declared, what is referred to first."""
        pipelines = (entry.pipeline for entry in self.pipelines)
        return (*self.feeds, *self.connections, *self.data_models, *self.field_transformations, *pipelines)

    @property
    def states(self) -> Mapping[str, PipelineState]:
        """The states that pipelines should be in, by id; those that say nothing are left out."""
        return {entry.id: PipelineState(entry.state) for entry in self.pipelines if entry.state is not None}

    def kept_secrets(self, resource: Resource) -> tuple[str, ...]:
        """Give the paths of the secrets of a resource that stay as the deployment has them."""
        return self._kept.get((type(resource), resource.id), ())

    def as_document(self) -> dict[str, list[dict[str, Any]]]:
        """Give the same as JSON, for ``read_document``: with all files' lists together, and no files beside them."""
        document: dict[str, list[dict[str, Any]]] = {}
        for name in KINDS:
            for resource in getattr(self, name):
                entry = resource.model_dump(mode="json")
                if isinstance(resource, PipelineEntry) and resource.state is not None:
                    entry["state"] = resource.state
                for path in self.kept_secrets(resource):
                    *above, last = path.split(".")
                    inside = entry
                    for part in above:
                        inside = inside[part]
                    inside[last] = STORED
                document.setdefault(name, []).append(entry)
        return document

    def ids(self, kind: type[BaseModel]) -> frozenset[str]:
        """Give the ids that the document declares of a kind."""
        return frozenset(resource.id for resource in self.in_order() if type(resource) is kind)

    def unknown_references(
        self, known: Mapping[type[BaseModel], Collection[str]] | None = None
    ) -> Iterator[tuple[str, Mistake]]:
        """Give, by pipeline, the references to what neither this document nor ``known`` (ids by kind) has."""
        have = {kind: self.ids(kind).union((known or {}).get(kind, ())) for kind in REFERENCES.values()}
        for entry in self.pipelines:
            for name, kind in REFERENCES.items():
                wanted, ids = getattr(entry, name), have[kind]
                if wanted is not None and wanted not in ids:
                    place = self._places.get((Pipeline, entry.id), Mistake(f"pipelines ({entry.id})", ""))
                    noun = name.removesuffix("_id").replace("_", " ")
                    reason = f"there is no {noun} {wanted!r}{nearest(wanted, sorted(ids))}"
                    yield entry.id, Mistake(f"{place.path}.{name}", reason, place.file)


KINDS: Final[Mapping[str, type[BaseModel]]] = {
    "feeds": Feed,
    "connections": Connection,
    "data_models": DataModel,
    "field_transformations": FieldTransformation,
    "pipelines": Pipeline,
}
"""The lists of a document, what is referred to first."""
REFERENCES: Final[Mapping[str, type[BaseModel]]] = {
    "connection_id": Connection,
    "data_model_id": DataModel,
    "feed_id": Feed,
    "field_transformation_id": FieldTransformation,
}
"""The fields of a pipeline that name something else."""


@dataclass(frozen=True, slots=True)
class Source:
    """One document before it is judged; data plans that it names as files are looked for in ``folder``."""

    content: Any
    file: str | None = None
    folder: Path | None = None


def read_declarations(*paths: Path) -> Declarations:
    """Read YAML files, and folders of them, as one document; data plans are read from where a file names them.

    Raises:
        DeclarationInvalid: a file cannot be read, is no YAML, or holds a mistake; all mistakes are told.
    """
    files = files_in(paths)
    return declarations_of([Source(load_yaml(file), str(file), file.parent) for file in files])


def read_document(content: Any) -> Declarations:
    """Read what JSON became: the same document as in YAML, with no files beside it.

    Raises:
        DeclarationInvalid: it holds a mistake; all are told.
    """
    return declarations_of([Source(content)])


def declarations_of(sources: Sequence[Source]) -> Declarations:
    """Give the declarations of all sources together, or refuse them with all mistakes."""
    found, mistakes = examine(sources)
    if mistakes:
        raise DeclarationInvalid(told(mistakes))
    if not found.in_order():
        named = ", ".join(source.file for source in sources if source.file) or "the document"
        raise DeclarationInvalid(f"{named} declares nothing; expected some of {', '.join(KINDS)}")
    return found


def told(mistakes: Sequence[Mistake]) -> str:
    """Give mistakes as people read them: one a line, under the file that they are in."""
    files = dict.fromkeys(mistake.file for mistake in mistakes)
    return "\n".join(
        "\n".join(
            [
                f"{file or 'the document'} declares something that cannot be:",
                *(f"  {mistake}" for mistake in mistakes if mistake.file == file),
            ]
        )
        for file in files
    )


def examine(sources: Sequence[Source]) -> tuple[Declarations, list[Mistake]]:
    """Give what the sources declare together, as far as it can be read, and every mistake in them."""
    mistakes: list[Mistake] = []
    lists: dict[str, list[Any]] = {name: [] for name in KINDS}
    kept: dict[tuple[type[BaseModel], str], tuple[str, ...]] = {}
    seen = _Seen()
    for source in sources:
        content, wrong = _prepared(source, kept)
        mistakes += wrong
        mistakes += seen.twice(content, source)
        try:
            read = Declarations.model_validate(content, context=GIVEN)
        except ValidationError as error:
            told_already = {one.path for one in wrong}
            found = mistakes_of(error, Declarations, content)
            mistakes += [Mistake(one.path, one.reason, source.file) for one in found if one.path not in told_already]
        else:
            mistakes += _unsound(read, source)
            for name, entries in lists.items():
                entries.extend(getattr(read, name))
    together = Declarations.model_validate(lists)
    together._kept.update(kept)  # noqa: SLF001 - of this module
    together._places.update(seen.places)  # noqa: SLF001 - of this module
    return together, mistakes


def _unsound(read: Declarations, source: Source) -> Iterator[Mistake]:
    """Give the field transformations of which no columns could make events."""
    if not read.field_transformations:
        return
    from shared.mapping.compile_events import require_sound  # noqa: PLC0415 - with Arrow, and few files need it

    for number, transformation in enumerate(read.field_transformations):
        try:
            require_sound(transformation)
        except DeclarationInvalid as error:
            yield Mistake(f"field_transformations.{number} ({transformation.id})", str(error), source.file)


class _Seen:
    """Where each id and each name stood first."""

    def __init__(self) -> None:
        self.places: dict[tuple[type[BaseModel], str], Mistake] = {}
        self._names: dict[tuple[type[BaseModel], str], str] = {}

    def twice(self, content: Any, source: Source) -> Iterator[Mistake]:
        """Give the ids and names that stood before."""
        for name, number, entry in _entries(content):
            kind, path = KINDS[name], path_of([name, number], content)
            where = f"{source.file}: {path}" if source.file else path
            given, called = entry.get("id"), entry.get("name")
            if isinstance(given, str):
                if (kind, given) in self.places:  # The last would win, and the others would be gone without a word.
                    first = self.places[kind, given]
                    before = first.path if first.file in (None, source.file) else f"{first.file}: {first.path}"
                    yield Mistake(
                        f"{path}.id", f"{given!r} stands there more than once, first as {before}; keep one", source.file
                    )
                    continue
                self.places[kind, given] = Mistake(path, "", source.file)
            if isinstance(called, str):
                if (kind, called) in self._names:
                    reason = f"{called!r} is the name of {self._names[kind, called]}, too; names are unique"
                    yield Mistake(f"{path}.name", reason, source.file)
                self._names.setdefault((kind, called), where)


def _prepared(source: Source, kept: dict[tuple[type[BaseModel], str], tuple[str, ...]]) -> tuple[Any, list[Mistake]]:
    """Give a source with data plans in place of their files, and placeholders for secrets that are kept."""
    content = {} if source.content is None else source.content
    mistakes = []
    if isinstance(content, dict):
        content = {name: list(entries) if isinstance(entries, list) else entries for name, entries in content.items()}
        for name, number, entry in list(_entries(content)):
            place = path_of([name, number], content)
            try:
                content[name][number] = _with_data_plan(entry, source.folder) if name == "pipelines" else entry
            except DeclarationInvalid as error:
                mistakes.append(Mistake(f"{place}.data_plan.{_DOCUMENT_FILE}", str(error), source.file))
                content[name][number] = {key: value for key, value in entry.items() if key != "data_plan"}
            if name in ("feeds", "connections"):
                content[name][number], paths = _with_placeholders(KINDS[name], entry)
                if paths:
                    kept[KINDS[name], str(entry.get("id"))] = paths
    return content, mistakes


def _entries(content: Any) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Give every entry of every list that has the shape of one."""
    for name in KINDS:
        entries = content.get(name) if isinstance(content, dict) else None
        for number, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
            if isinstance(entry, dict):
                yield name, number, entry


def _with_placeholders(kind: type[BaseModel], entry: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Put placeholders where an entry says ``stored`` for a secret; give the paths where it did."""
    provider = entry.get("service_provider")
    paths = []
    complete = deepcopy(entry)
    for path in secret_paths(kind, provider if isinstance(provider, str) else None):
        *above, last = path.split(".")
        inside: Any = complete
        for name in above:
            inside = inside.get(name) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and inside.get(last) == STORED:
            inside[last] = _PLACEHOLDER
            paths.append(path)
    return complete, tuple(paths)


def _with_data_plan(pipeline: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """Put the document of a data plan where a file of it is named; what is of another shape is left to be refused."""
    plan = pipeline.get("data_plan")
    if not isinstance(plan, dict) or not isinstance(named := plan.get(_DOCUMENT_FILE), str):
        return pipeline
    if folder is None:
        raise DeclarationInvalid("no file is beside this document; give the plan itself as `document`")
    if "document" in plan:
        raise DeclarationInvalid(f"there is a document, too; expected one of document and {_DOCUMENT_FILE}")
    others = {name: part for name, part in plan.items() if name != _DOCUMENT_FILE}
    return {**pipeline, "data_plan": {**others, "document": load_json(folder / named)}}
