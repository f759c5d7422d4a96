"""Questions to workers as findings; where nobody answers one, no further is asked."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from console.examining.finding import Finding, failed
from console.operations import Operations
from shared.errors import NoWorker, SyncError
from shared.probe import Answer, ProbeKind, Question


class Prober:
    """Asks workers until it turns out that none answers: each further question would only take as long again."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.answers = True
        """Whether workers may still answer."""
        self.asked_at = datetime.now(UTC)
        """When the last question was asked, for clocks to be compared."""

    def give_up(self) -> None:
        """Ask nothing any more: it is known that nobody answers, and said."""
        self.answers = False

    def ask(self, subject: str, well: Callable[[Answer], Finding], kind: ProbeKind, **about: str) -> Iterator[Finding]:
        """Ask one question and give what came of it: ``well`` reads an answer."""
        if not self.answers:
            return
        self.asked_at = datetime.now(UTC)
        try:
            answer = self._operations.ask(Question.model_validate({"kind": kind, **about}))
        except NoWorker as error:
            self.give_up()
            yield failed(subject, error)
        except SyncError as error:
            yield failed(subject, error)
        else:
            yield well(answer)
