"""What becomes of a declaration, told as the change of a plan: created, changed, deleted, left as it is, or refused."""

from console.declarations import Resource
from console.planning import Action, Change, Plan, fields_changed, mark_of
from console.stored import Key, Stored
from shared.catalog import Connection
from shared.errors import DeclarationInvalid, MoveNotAllowed, NotFound, Refused, WatermarkUndecided
from shared.secret_fields import STORED, kept_paths, secret_paths, secrets_of, with_secrets
from shared.store.records import table_of


def completed(resource: Resource, kept: tuple[str, ...], before: Stored | None) -> Resource:
    """Give a resource with the stored secrets where it says ``stored``.

    Raises:
        Refused: nothing is there to be kept.
    """
    if not kept:
        return resource
    stored = before.resource if before else None
    document = resource.model_dump(mode="json")
    for path in kept:
        *above, last = path.split(".")
        inside = document
        for name in above:
            inside = inside[name]
        inside[last] = STORED
    kept_paths(type(resource), document, stored)  # Refuses what is not there to be kept.
    had = secrets_of(stored) if stored is not None else {}
    return with_secrets(resource, {path: had[path] for path in kept})


def change_of(key: Key, before: Stored | None, resource: Resource, kept: tuple[str, ...]) -> Change:
    """Give what becomes of a declaration that is to be as ``resource`` says, with the secrets that it keeps."""
    noun, document = table_of(key[0])[1], resource.model_dump(mode="json")
    if before is None:
        return Change(noun, key[1], Action.CREATE, kept_secrets=kept, mark=mark_of(None, document))
    fields = fields_changed(before.document, document, {*_secrets(before.resource), *_secrets(resource)})
    action = Action.CHANGE if fields else Action.UNCHANGED
    return Change(noun, key[1], action, fields, kept_secrets=kept, mark=mark_of(before.document, document))


def deletion_of(key: Key, before: Stored, notes: tuple[str, ...]) -> Change:
    """Give what becomes of a declaration that is to be there no more."""
    return Change(table_of(key[0])[1], key[1], Action.DELETE, notes=notes, mark=mark_of(before.document, None))


def called(key: Key) -> str:
    """Give what people call a declaration."""
    return f"{table_of(key[0])[1]} {key[1]!r}"


def refusal_of(plan: Plan) -> Refused | None:
    """Give the one error that a plan's refusals are together; of one refusal, that itself."""
    classes = {kind.__name__: kind for kind in (DeclarationInvalid, MoveNotAllowed, NotFound, WatermarkUndecided)}
    if not plan.refused:
        return None
    kinds = {classes.get(change.error_kind or "", DeclarationInvalid) for change in plan.refused}
    kind = kinds.pop() if len(kinds) == 1 else DeclarationInvalid
    return kind("\n".join(change.refusal or "" for change in plan.refused))


def _secrets(resource: Resource) -> tuple[str, ...]:
    return secret_paths(type(resource), resource.service_provider if isinstance(resource, Connection) else None)
