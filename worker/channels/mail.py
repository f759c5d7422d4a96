"""A message by e-mail: one mail to all who are named, with an id that repeats share."""

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from shared.alert_message import AlertMessage
from shared.errors import AlertRefused, AlertUnsent
from shared.settings import Settings
from worker.alert_text import lines_of
from worker.channels.base import conversation_s, is_this_machine, require_tls, told

_VARIABLE: Final = "WAREHOUSE_SYNC_ALERT_SMTP_URL"
_PORTS: Final = {"smtp": 587, "smtps": 465}
_SUBJECT_CHARS: Final = 200


class Mail:
    """The mail server that settings name."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        self._settings = settings
        self._url = url

    def send(self, message: AlertMessage) -> str:
        """Send one message once; see :class:`worker.channels.base.Channel`. Some of several may refuse it."""
        settings = self._settings
        mail = mail_of(message, sender=settings.alert_email_from or "", to=settings.alert_email_to)
        with self._signed_in() as (host, server):
            try:
                refused = server.send_message(mail, settings.alert_email_from, list(settings.alert_email_to))
            except smtplib.SMTPRecipientsRefused as error:
                codes = sorted({code for code, _ in error.recipients.values()})
                raise AlertUnsent(f"{host} refused every recipient ({', '.join(map(str, codes))})") from None
            # It has the mail; whatever it says to a farewell, a repeat would be a second one.
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        named = len(settings.alert_email_to)
        return f"{host} took it for {named - len(refused)} of {named} recipients"

    def check(self) -> None:
        """Read the address without using it; whether TLS is to be had, only the server says.

        See :class:`worker.channels.base.Channel`.
        """
        self._read()

    def _read(self) -> tuple[SplitResult, str, int]:
        try:
            url = urlsplit(told(self._url, self._settings))
        except ValueError:  # It repeats what it could not read.
            url = urlsplit("")
        return url, _host_of(url.scheme, url.hostname), _port_of(url.netloc, url.scheme)

    @contextmanager
    def _signed_in(self) -> Iterator[tuple[str, smtplib.SMTP]]:
        """Give a session; what a server says may repeat what it was told, so only its codes are kept."""
        settings = self._settings
        url, host, port = self._read()
        user = url.username
        try:
            with _connected(url.scheme, host, port, settings) as server:
                if user is not None:
                    server.login(unquote(user), unquote(url.password or ""))
                yield host, server
        except smtplib.SMTPResponseException as error:
            raise AlertUnsent(f"{host} answered {error.smtp_code} ({type(error).__name__})") from None
        except smtplib.SMTPServerDisconnected:
            limit = f"{settings.alert_timeout_s:g} s"
            raise AlertUnsent(f"{host}:{port} closed the connection, or did not answer within {limit}") from None
        except smtplib.SMTPException as error:
            raise AlertUnsent(f"{host} is no mail server that can be used so ({type(error).__name__})") from None
        except ssl.SSLCertVerificationError:
            raise AlertUnsent(f"the certificate of {host} is not valid") from None
        except TimeoutError:
            raise AlertUnsent(f"{host}:{port} did not answer within {settings.alert_timeout_s:g} s") from None
        except OSError as error:
            raise AlertUnsent(f"{host}:{port} cannot be reached: {error.strerror or type(error).__name__}") from None


def mail_of(message: AlertMessage, *, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """Give a message as a mail; those of one alert are one thread."""
    mail = EmailMessage(policy=SMTP)
    domain = sender.rpartition("@")[2].rstrip("> ") or "warehouse-sync"
    mail["Subject"] = _one_line(f"[Warehouse Sync] {message.title}")[:_SUBJECT_CHARS]
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(message.ended or message.since)
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["References"] = f"<{message.alert_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Warehouse-Sync-Id"] = str(message.id)
    mail.set_content("\n".join([message.title, "", *lines_of(message)]) + "\n")
    return mail


class _Session(smtplib.SMTP):
    """A conversation on a connection that is there already, so that a timer reaches it from its first byte on."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        self._connection = connection
        super().__init__(host)

    def connect(self, *_: object, **__: object) -> tuple[int, bytes]:
        """Take the connection, and give the server's greeting."""
        self.sock = self._connection
        self.file = None
        return self.getreply()


@contextmanager
def _connected(scheme: str, host: str, port: int, settings: Settings) -> Iterator[smtplib.SMTP]:
    context = ssl.create_default_context()
    with (
        socket.create_connection((host, port), settings.alert_timeout_s) as plain,
        _broken_off(plain, f"{host}:{port}", conversation_s(settings)),
    ):
        if scheme == "smtps":
            with context.wrap_socket(plain, server_hostname=host) as private:
                yield _Session(private, host)
            return
        server = _Session(plain, host)
        try:
            _secure(server, host, settings, context)
            yield server
        finally:
            server.close()


def _secure(server: smtplib.SMTP, host: str, settings: Settings, context: ssl.SSLContext) -> None:
    server.ehlo()
    if server.has_extn("starttls") and not is_this_machine(host):
        server.starttls(context=context)
        server.ehlo()
    else:
        require_tls(host, settings, variable=_VARIABLE, wanted="smtps://, or a server that offers STARTTLS")


@contextmanager
def _broken_off(connection: socket.socket, place: str, limit_s: float) -> Iterator[None]:
    """Break a connection off after a while: time limits of a socket are those of one byte, and begin anew with each."""
    has_passed = threading.Event()
    # Another descriptor of the same connection, because TLS takes the first one away.
    with connection.dup() as same:

        def end() -> None:
            has_passed.set()
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, smtplib.SMTPException):
            if has_passed.is_set():
                raise AlertUnsent(f"{place} did not come to an end within {limit_s:g} s") from None
            raise
        finally:
            timer.cancel()
            timer.join()


def _host_of(scheme: str, host: str | None) -> str:
    if scheme not in _PORTS or not host:
        raise AlertRefused(f"{_VARIABLE}: expected smtp://user:password@host:587 or smtps://user:password@host:465")
    return host


def _port_of(netloc: str, scheme: str) -> int:
    _, colon, port = netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")
    if not colon:
        return _PORTS[scheme]
    if not port.isdecimal():
        raise AlertRefused(f"{_VARIABLE}: its port is not a number; percent-encode what the password holds of @ : / ?")
    return int(port)


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
