"""TLS before a server that has none: a proxy that ends it, with certificates of a test's own authority.

The proxy is a process of its own: what its loop leaves behind when it is stopped in the midst of connections is
nothing that a test should have to hear of.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

_SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""A PostgreSQL client's first message where it would like TLS; the answer is S or N."""


@dataclass(frozen=True)
class Authority:
    """An authority, and the files of it and of a client that it vouches for."""

    authority: trustme.CA
    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def made(cls, folder: Path) -> "Authority":
        folder.mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        made = cls(authority, folder / "ca.pem", folder / "client.pem", folder / "client.key")
        made.issue("worker.test", made.certificate, made.key)
        return made

    def issue(self, name: str, certificate: Path, key: Path) -> None:
        """Write a certificate for a name, and its key."""
        issued = self.authority.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)  # libpq insists.


@contextmanager
def tls_before(port: int, authority: Authority, *, name: str, is_postgres: bool = False) -> Iterator[int]:
    """Give a port that speaks TLS as ``name`` and asks every client for a certificate of the same authority."""
    folder = authority.ca.parent
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    authority.issue(name, certificate, key)
    told = [str(port), str(authority.ca), str(certificate), str(key), "postgres" if is_postgres else "redis"]
    with subprocess.Popen([sys.executable, __file__, *told], stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield int(proxy.stdout.readline())
        finally:
            proxy.kill()


async def _serve_for_ever(port: int, context: ssl.SSLContext, *, is_postgres: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Handshakes that fail are what tests provoke.
        with suppress(OSError, asyncio.IncompleteReadError):
            if is_postgres:
                if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                    writer.close()  # As `hostssl` does: who does not ask for TLS is turned away.
                    return
                writer.write(b"S")
            await writer.start_tls(context)
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            copies = [_copy(reader, there_writer), _copy(there_reader, writer)]
            await asyncio.wait(map(asyncio.create_task, copies), return_when=asyncio.FIRST_COMPLETED)
            there_writer.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(65_536):
            writer.write(content)
            await writer.drain()


def _main(port: str, ca: str, certificate: str, key: str, kind: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    asyncio.run(_serve_for_ever(int(port), context, is_postgres=kind == "postgres"))


if __name__ == "__main__":
    _main(*sys.argv[1:])
