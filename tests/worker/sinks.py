"""Where alerts arrive in tests: an HTTP server for webhook and Slack, and a mail server, on this machine."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from sandbox.ports import free_port

_READY_LIMIT_S = 60.0


@dataclass(frozen=True)
class Post:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Sinks:
    """What arrived, and how the servers answer: ``statuses`` by the beginning of a path, 200 where none is named."""

    port: int = 0
    mail_port: int = 0
    posts: list[Post] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    mail_answer: str = "250 taken"
    farewell: str = "221 Bye"
    user: tuple[str, str] | None = None

    def posted(self, path: str) -> list[Post]:
        return [post for post in self.posts if post.path.startswith(path)]

    def _took(self, post: Post) -> int:
        self.posts.append(post)
        return next((status for path, status in self.statuses.items() if post.path.startswith(path)), 200)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.mail_answer.startswith("250"):
            content = envelope.content if isinstance(envelope.content, bytes) else b""
            self.mails.append(message_from_bytes(content, EmailMessage, policy=policy.default))
        return self.mail_answer

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        return self.farewell

    def signs_in(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        is_known = isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == self.user
        return AuthResult(success=is_known, handled=False)


@contextmanager
def sinks_running(**mail: Any) -> Iterator[Sinks]:
    """Run both servers; ``mail`` are options of the mail server."""
    sinks = Sinks()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = sinks._took(Post(self.path, dict(self.headers), body))
            self.send_response(status)
            if status in range(300, 400):
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    told = {"ready_timeout": _READY_LIMIT_S, "authenticator": sinks.signs_in, **mail}
    controller = Controller(sinks, hostname="127.0.0.1", port=free_port(), **told)
    controller.start()
    web = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    sinks.port = web.server_address[1]
    sinks.mail_port = controller.port
    try:
        yield sinks
    finally:
        controller.stop()
        web.shutdown()
        thread.join()
        web.server_close()


@contextmanager
def dripping(context: ssl.SSLContext | None) -> Iterator[int]:
    """Run a mail server that never ends its greeting, a byte at a time, with TLS or without; give its port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            private = connection if context is None else context.wrap_socket(connection, server_side=True)
            with private, suppress(OSError):
                while not over.wait(0.02):
                    private.sendall(b"2")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()
