"""The API in a thread of the test process: no worker, no housekeeping, quick to start."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import uvicorn
from servers import free_port, wait_until

from aura.service.app import create_app
from aura.service.context import Service
from aura.service.extensions import load_extensions
from aura.service.server import web_server
from aura.service.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aura.service.extensions import Extension


class Api:
    def __init__(self, service: Service, port: int, extensions: Sequence[Extension]) -> None:
        self.service = service
        self.extensions = extensions
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(
            base_url=self.url, headers={**headers, **options.pop("headers", {})}, timeout=30
        )


@contextlib.contextmanager
def serving(folder: Path, *, only_local: bool = True, **settings: Any) -> Iterator[Api]:
    service = Service(read_settings({}, data_dir=folder / "data", **settings), may_migrate=True)
    port = free_port()
    extensions = load_extensions(service)  # as the environment configures them
    app = create_app(service, only_local=only_local, extensions=extensions)
    config = web_server(app, service.settings.trusted_proxies)
    config.port = port
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, what="the API")
        yield Api(service, port, extensions)
    finally:
        server.should_exit = True
        thread.join(10)
        service.close()
