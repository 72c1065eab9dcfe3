"""A gate before a server: open, or shut in the ways in which servers far away are shut."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PART = 65_536


@dataclass
class Gate:
    """Passes connections on to `target`; `state` is open, failing (answers 500) or hanging."""

    target: int
    state: str = "open"
    port: int = 0
    turned_away: int = 0
    held: list[socket.socket] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def shut(self, state: str) -> None:
        """From now on; connections that are open are cut, as keep-alive would pass them on."""
        self.state = state
        self.cut()

    def open(self) -> None:
        self.state = "open"
        self.cut()

    def cut(self) -> None:
        while self.held:
            with contextlib.suppress(OSError):
                self.held.pop().shutdown(socket.SHUT_RDWR)

    def serve(self, client: socket.socket) -> None:
        self.held.append(client)
        if self.state != "open":
            self.turned_away += 1
        with client, contextlib.suppress(OSError):
            if self.state == "failing":
                self._refuse(client)
            elif self.state == "hanging":
                while client.recv(PART):
                    pass
            else:
                with socket.create_connection(("127.0.0.1", self.target), 5) as server:
                    server.settimeout(None)
                    back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                    back.start()
                    _pass_on(client, server)
                    back.join()

    @staticmethod
    def _refuse(client: socket.socket) -> None:
        client.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while client.recv(PART):
                pass
        client.sendall(ERROR)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(PART):
            target.sendall(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def gate_before(target: int) -> Iterator[Gate]:
    """A gate on a free port, before the server on port `target` of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = Gate(target, port=listener.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=gate.serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield gate
        gate.cut()
        listener.shutdown(socket.SHUT_RDWR)
