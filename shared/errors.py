"""What a failure means for the run, before it means anything else.

::

    SyncError ─┬─ Transient   repeat later with the same input
               │   ├─ WarehouseBusy        throttled, asleep, connection lost
               │   ├─ FeedUnavailable      mParticle answers 5xx, 429 or not at all
               │   ├─ StoreUnavailable     the state database does not answer
               │   ├─ BrokerUnavailable    Redis or Valkey does not answer
               │   ├─ SpoolUnavailable     the spool's disk or bucket does not answer
               │   ├─ ProcessOutdated      a newer version wrote what is read here; one that knows it goes on
               │   ├─ NoWorker             no worker took a question in time
               │   ├─ TooManyQuestions     a server has as many questions under way as it may
               │   ├─ ServerBusy           a server has as many requests or downloads under way as it may
               │   ├─ BodyTooSlow          a request's body did not arrive in time
               │   ├─ ServerUnavailable    the server that a command talks to does not answer
               │   ├─ TooManySignIns       so many sign-ins failed that the next ones wait
               │   └─ AlertUnsent          a channel of alerts did not take a message
               ├─ Refused     an operator must act; the run stops and keeps its window
               │   ├─ NotFound             no such pipeline, run, feed ...
               │   ├─ DeclarationInvalid   what was declared contradicts itself
               │   │   └─ WatermarkUndecided   an edit asks what becomes of the watermark, and nobody says
               │   ├─ AlreadyDeclared      something else has that id
               │   ├─ ChangedMeanwhile     somebody changed it since it was read
               │   ├─ BodyTooLarge         a request has more bytes than the API reads
               │   ├─ MethodNotAllowed     an address of the API does not take this method
               │   ├─ SignInRefused        no token, or none that is valid
               │   ├─ RoleTooLow           who signed in may not do this
               │   ├─ AlreadyInProgress    the pipeline has an open run
               │   ├─ CredentialsRefused   a warehouse or a feed refused the sign-in
               │   │   └─ FeedSignInRefused   a feed did, when it was asked to be tested
               │   ├─ RightsMissing        a warehouse signs us in and shows us too little
               │   ├─ SecretUnavailable    a secret reference leads nowhere, or nowhere it may
               │   ├─ AlertRefused         a channel of alerts is configured so that it may not be used
               │   ├─ DriverMissing        a warehouse's client library is not installed in this worker
               │   ├─ WarehouseUnreachable no such host, account, database, file
               │   ├─ ModelInvalid         the data model's SQL is not one SELECT, or the warehouse refuses it
               │   ├─ ColumnMissing        a column the pipeline needs is not in the result
               │   ├─ IteratorInvalid      the iterator column is not of the declared type
               │   ├─ MappingRefused       columns that cannot become mParticle fields
               │   ├─ QueryTimedOut        the query ran longer than its limit
               │   ├─ ResultExpired        the warehouse no longer has the result that was being read
               │   ├─ FeedRefused          mParticle refuses every batch: the mapping is wrong
               │   ├─ TooManyRejected      more rows were rejected than the pipeline allows
               │   ├─ SpoolUnwritable      the spool cannot be written, or is not the others' spool
               │   ├─ SpoolTooSmall        one slice does not fit into the spool
               │   ├─ ChunkAbandoned       a chunk's uploaders died too often, or it stayed in doubt too long
               │   ├─ HistoryOvertaken     more users changed meanwhile than may be remembered; read it anew
               │   ├─ StillAtWork          workers or a beat run where nobody may
               │   ├─ MoveNotAllowed       a run or pipeline is not in a state that allows this
               │   └─ ServiceUnavailable   an embedded service cannot be found or started
               └─ Broken      we are wrong; the run stops and alerts
                   ├─ ChunkCorrupt         a spooled file is not what was written
                   ├─ LedgerUnbalanced     rows are unaccounted for
                   ├─ WatermarkWentBack    settling would move a watermark back
                   ├─ PayloadUnknown       a message this version cannot read
                   └─ Unexpected           an exception nobody foresaw; told by its kind and place only

Every class takes one positional sentence (and one of them a number), so that it survives pickling. The sentence names
the thing, what was expected, what came and what to do. It never holds a row's value or a secret.
"""

import traceback
from typing import Self


class SyncError(Exception):
    """Any failure this product names; ``str()`` is a sentence for an operator."""


class Transient(SyncError):
    """Repeating later, with the same input, can help."""


class Refused(SyncError):
    """An operator must act; repeating alone does not help."""


class Broken(SyncError):
    """A promise of this product does not hold; stop and look."""


class WarehouseBusy(Transient):
    """The warehouse is throttled or asleep, or the connection broke."""


class FeedUnavailable(Transient):
    """mParticle did not take the request now."""


class StoreUnavailable(Transient):
    """The state database does not answer."""


class BrokerUnavailable(Transient):
    """Redis or Valkey does not answer."""


class SpoolUnavailable(Transient):
    """The spool's disk or bucket does not answer."""


class ProcessOutdated(Transient):
    """A newer version wrote what this process reads: during an upgrade one of that version goes on with it."""


class NoWorker(Transient):
    """No worker took a question in time: none serves its queue, or all are busy."""


class TooManyQuestions(Transient):
    """A server waits for as many answers of workers as it may at once; the next question comes later."""


class ServerBusy(Transient):
    """A server has as many requests or downloads under way as it may; the next ones come later."""


class BodyTooSlow(Transient):
    """A request's body did not arrive in time; over a better line it would."""


class ServerUnavailable(Transient):
    """The server that a command talks to does not answer, or answers what this version cannot read."""


class TooManySignIns(Transient):
    """So many sign-ins failed that the next ones have to wait ``wait_s``, of which the sentence tells as well."""

    def __init__(self, sentence: str, wait_s: int = 0) -> None:
        super().__init__(sentence, wait_s)
        self.wait_s = wait_s

    def __str__(self) -> str:
        return str(self.args[0])


class AlertUnsent(Transient):
    """A channel of alerts did not take a message, or did not say so."""


class NotFound(Refused):
    """Nothing of that kind has that id."""


class DeclarationInvalid(Refused):
    """What was declared contradicts itself or lacks something."""


class WatermarkUndecided(DeclarationInvalid):
    """An edit asks what becomes of a pipeline's watermark, and nobody says."""


class AlreadyDeclared(Refused):
    """Something else has that id."""


class ChangedMeanwhile(Refused):
    """Somebody changed it since it was read."""


class BodyTooLarge(Refused):
    """A request has more bytes than the API reads."""


class MethodNotAllowed(Refused):
    """An address of the API does not take this method."""


class SignInRefused(Refused):
    """No token, or none that is valid."""


class RoleTooLow(Refused):
    """Who signed in may not do this."""


class AlreadyInProgress(Refused):
    """The pipeline has an open run."""


class CredentialsRefused(Refused):
    """A warehouse or a feed refused the sign-in."""


class FeedSignInRefused(CredentialsRefused):
    """A feed refused the sign-in when somebody asked about it, and no warehouse did."""


class RightsMissing(Refused):
    """A warehouse signed us in, and refuses to show a table or to run a query."""


class AlertRefused(Refused):
    """A channel of alerts is configured so that it may not be used."""


class DriverMissing(Refused):
    """A warehouse's client library is not installed in this worker."""


class SecretUnavailable(Refused):
    """A secret reference leads nowhere, or nowhere it may."""


class WarehouseUnreachable(Refused):
    """No such host, account, database or file."""


class ModelInvalid(Refused):
    """The data model's SQL is not one SELECT, or the warehouse refuses it."""


class ColumnMissing(Refused):
    """A column that the pipeline needs is not in the query's result."""


class IteratorInvalid(Refused):
    """The iterator column is not of the declared type."""


class MappingRefused(Refused):
    """Columns of the data model cannot become mParticle fields."""


class QueryTimedOut(Refused):
    """The warehouse's query ran longer than its limit."""


class ResultExpired(Refused):
    """The warehouse no longer has the result that was being read, and parts of it were sent already."""


class FeedRefused(Refused):
    """mParticle refuses every batch it is shown: the mapping is wrong."""


class TooManyRejected(Refused):
    """More of a run's rows were rejected than its pipeline allows."""


class SpoolUnwritable(Refused):
    """The spool cannot be written, or is not the one the other workers see."""


class SpoolTooSmall(Refused):
    """One slice does not fit into the spool's hard limit."""


class ChunkAbandoned(Refused):
    """A chunk's uploaders died too often, or it stayed in doubt too long."""


class HistoryOvertaken(Refused):
    """While history was being loaded more users changed than may be remembered: its chunks are too old to send."""


class MoveNotAllowed(Refused):
    """The run or pipeline is not in a state that allows this."""


class StillAtWork(Refused):
    """Workers or a beat run where nobody may."""


class ServiceUnavailable(Refused):
    """An embedded service cannot be found or started."""


class ChunkCorrupt(Broken):
    """A spooled file is not what was written."""


class LedgerUnbalanced(Broken):
    """Rows are unaccounted for."""


class WatermarkWentBack(Broken):
    """Settling would move a watermark back, or from where it does not stand."""


class PayloadUnknown(Broken):
    """A message that this version cannot read."""


class Unexpected(Broken):
    """An exception nobody foresaw, told by its kind and place: its own text may hold a row's values."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Give what may be told of such an exception."""
        frames = traceback.extract_tb(error.__traceback__)
        trail = " > ".join(
            f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" for frame in frames[-4:]
        )
        return cls(f"{type(error).__module__}.{type(error).__name__} at {trail}; please report this place")
