"""`aura serve`: the API, and on a single machine the queue and the workers with it."""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from aura.errors import UsageError
from aura.service.app import create_app
from aura.service.context import Service
from aura.service.embedded import EmbeddedWorkers
from aura.service.extensions import bell_elsewhere, load_extensions
from aura.service.housekeeping import Housekeeper
from aura.service.keys import any_key
from aura.service.logs import configure_logs
from aura.service.probing import start_prober

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from aura.service.context import Bell
    from aura.service.settings import Settings

GRACE_SECONDS = 5  # for answers under way when the service is told to stop
IDLE_SECONDS = 30  # that a connection is kept open between requests
BACKLOG = 512
# How long a thread may keep the interpreter from the others (Python's default is 5 ms). Answers
# come from one thread and wait for it each time; with uploads under way that made quick ones slow.
SWITCH_SECONDS = 0.0005


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run_server(settings: Settings, host: str, port: int) -> None:
    """Serve until told to stop.

    Raises:
        UsageError: others could connect and there is no key; the port is taken; tables of another
            version.
    """
    configure_logs(pretty=sys.stderr.isatty())
    sys.setswitchinterval(SWITCH_SECONDS)
    only_local = is_loopback(host)
    embedded: EmbeddedWorkers | None = None
    bell = open_bell(settings)
    if bell is None:
        bell = embedded = EmbeddedWorkers(settings)
    # A fleet's tables are changed by `aura db upgrade` and not by whoever starts first.
    service = Service(settings, bell, may_migrate=not settings.database_url)
    try:
        extensions = load_extensions(service)
        keys = any_key(service.engine) or any(one.sign_in for one in extensions)
        if not (only_local or keys):
            raise UsageError(
                f"--host {host} lets others connect, and there is no key; make one with "
                "`aura keys create USER`, or leave --host away"
            )
        listener = _listen(host, port)
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        _say(f"Aura listens on http://{shown}:{port} (data in {settings.data_dir.absolute()})")
        if only_local and not (keys or settings.require_keys):
            _say("Only this machine can connect, so no key is needed: single-user mode.")
        start_prober()
        if embedded is not None:
            embedded.start()
        keeper = Housekeeper(service, extensions)
        keeper.start()
        app = create_app(service, embedded, only_local=only_local, extensions=extensions)
        try:
            uvicorn.Server(web_server(app, settings.trusted_proxies)).run(sockets=[listener])
        finally:
            keeper.stop()
            if embedded is not None:
                embedded.stop()
    finally:
        service.close()


def open_bell(settings: Settings) -> Bell | None:
    """The bell of workers in other processes, at Modal or behind Celery; None: there are none.

    Raises:
        UsageError: the settings lack what it needs.
    """
    elsewhere = bell_elsewhere(settings)
    if elsewhere is not None:
        return elsewhere
    if settings.redis_url and settings.dispatcher != "embedded":
        from aura.service.queue import CeleryBell  # noqa: PLC0415 - of no use to a single machine

        return CeleryBell(settings.redis_url)
    if settings.dispatcher == "celery":
        raise UsageError("AURA_DISPATCHER=celery needs a queue: set AURA_REDIS_URL")
    return None


def web_server(app: FastAPI, trusted_proxies: Sequence[str] = ()) -> uvicorn.Config:
    """How the application is served; `trusted_proxies` as in the settings."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # What comes from anywhere else may say what it likes of itself.
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener: Any = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(f"can't listen on {host} port {port} ({error.strerror})") from None
    found: socket.socket = listener
    return found


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
