"""The one client for addresses that users name: `video_url` and `callback_url`.

Only public addresses. A host is resolved once and the connection goes to the very address that was
checked, so that a second answer of a resolver (DNS rebinding) changes nothing. Redirects are
followed by hand and checked like the first address. Bytes and time are capped for the whole
exchange, not for single reads, so that a slow drip is cut off as well.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpcore2 as httpcore

from aura.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT_SECONDS = 10.0
MAX_URL = 2048
PORTS = {"http": 80, "https": 443}
USER_AGENT = b"aura-veracity (+https://pypi.org/project/aura-veracity/)"

# IPv6 ranges that carry an IPv4 address inside, which is the one that counts.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(InputError):
    """The address may not be fetched or called back."""

    kind = "address_refused"


class FetchFailed(InputError):
    """Nobody answered, or not as hoped."""

    kind = "fetch_failed"


class TooSlow(FetchFailed):
    """The exchange took longer than it may."""


class TooLarge(FetchFailed):
    """The answer is larger than it may be."""

    kind = "too_large"


@dataclass(frozen=True)
class Answer:
    """Head of an answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    url: str
    body: Iterable[bytes]


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host, as the system's resolver gives them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Whether an IP address belongs to the public internet, whatever form it comes in.

    >>> is_public("8.8.8.8"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    """
    try:
        address: IpAddress = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in NAT64 or address in IPV4_COMPATIBLE:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address in SITE_LOCAL:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def check_url(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address that may be tried.

    Raises:
        AddressRefused: not http or https, with a password in it, malformed.
    """
    if len(url) > MAX_URL or not url.isprintable() or " " in url or "\\" in url:
        raise AddressRefused("the address is malformed; give a plain https:// address")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressRefused("the address is malformed; give a plain https:// address") from None
    if parts.scheme not in PORTS:
        raise AddressRefused("only http:// and https:// addresses are fetched")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("an address with a user name or password in it is not fetched")
    if not host:
        raise AddressRefused("the address names no host; give a plain https:// address")
    return parts.scheme, host, port or PORTS[parts.scheme]


@functools.cache
def _usual_authorities() -> ssl.SSLContext:
    """Read once: that takes some 20 ms."""
    return ssl.create_default_context()


class GuardedClient:
    """Asks public hosts.

    Args:
        allowed: `host:port` that may be asked although they are not public.
        resolver: gives the addresses of a host; tests hand in one that lies.
    """

    def __init__(
        self,
        allowed: Collection[str] = (),
        resolver: Callable[[str, int], list[str]] = resolve,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = frozenset(allowed)
        self._resolver = resolver
        self._ssl = verify or _usual_authorities()

    def check(self, url: str) -> None:
        """Refuse an address that `ask` would refuse, without asking it.

        Raises:
            AddressRefused: it leads to no public host. FetchFailed: the host has no address.
        """
        _, host, port = check_url(url)
        self.addresses(host, port)

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, if all of them are public."""
        try:
            found = self._resolver(host, port)
        except (OSError, UnicodeError):
            raise FetchFailed(f"the host {host} has no address; check the spelling") from None
        if f"{host}:{port}" in self._allowed:
            return found
        if not found or not all(is_public(address) for address in found):
            raise AddressRefused(f"{host} is not on the public internet, so it is not asked")
        return found

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterator[bytes] = b"",
        seconds: float,
        max_bytes: int,
        redirects: int = MAX_REDIRECTS,
    ) -> Iterator[Answer]:
        """Ask, following redirects; the answer's body is read as the block iterates over it.

        Content that comes in parts needs a `Content-Length` and can't follow a redirect.

        Raises:
            AddressRefused, FetchFailed, TooSlow, TooLarge: also while the body is read.
        """
        ends = time.monotonic() + seconds
        backend = _Backend(self, ends)
        sent = [
            (b"User-Agent", USER_AGENT),
            *((name.encode(), value.encode()) for name, value in (headers or {}).items()),
        ]
        with httpcore.ConnectionPool(network_backend=backend, ssl_context=self._ssl) as pool:
            for _ in range(redirects + 1):
                scheme, host, port = check_url(url)
                named = f"[{host}]" if ":" in host else host
                head = named if port == PORTS[scheme] else f"{named}:{port}"
                with (
                    _translated(url),
                    pool.stream(
                        method, url, headers=[(b"Host", head.encode()), *sent], content=content
                    ) as response,
                ):
                    found = {
                        name.decode("latin-1").lower(): value.decode("latin-1")
                        for name, value in response.headers
                    }
                    if response.status in REDIRECTS and "location" in found and redirects:
                        url = urljoin(url, found["location"])
                        continue
                    body = _capped(response.iter_stream(), ends, max_bytes)
                    yield Answer(response.status, found, url, body)
                    return
        raise FetchFailed("the address redirects too often; give the address it leads to")


def _capped(chunks: Iterable[bytes], ends: float, max_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(
                f"the answer is larger than {max_bytes} bytes, which is all that is read"
            )
        if time.monotonic() > ends:
            raise TooSlow("the host took too long to send its answer")
        yield chunk


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """The client library's exceptions as ours."""
    host = urlsplit(url).hostname
    try:
        yield
    except httpcore.TimeoutException:
        raise TooSlow(f"{host} took too long to answer") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
        raise FetchFailed(f"{host} can't be asked ({type(error).__name__})") from None
    except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError, UnicodeError):
        raise AddressRefused("the address is malformed; give a plain https:// address") from None


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to no other."""

    def __init__(self, client: GuardedClient, ends: float) -> None:
        self._client = client
        self._ends = ends
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check, connect to what was checked."""
        del timeout
        failure: Exception | None = None
        for address in self._client.addresses(host, port):
            limit = min(CONNECT_SECONDS, max(0.01, self._ends - time.monotonic()))
            try:
                stream = self._plain.connect_tcp(
                    address, port, limit, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _Stream(stream, self._ends)
        raise failure or httpcore.ConnectError("no address")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        """Never."""
        del path, timeout, socket_options
        raise AddressRefused("a local socket is not asked")

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A connection whose every read and write ends when the whole exchange has to."""

    def __init__(self, inner: httpcore.NetworkStream, ends: float) -> None:
        self._inner = inner
        self._ends = ends

    def _left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the exchange took too long")
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes, in time."""
        del timeout
        return self._inner.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send, in time."""
        del timeout
        self._inner.write(buffer, self._left())

    def close(self) -> None:
        """Hang up."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go over to TLS; the certificate is checked for the host's name, not the address."""
        del timeout
        return _Stream(
            self._inner.start_tls(ssl_context, server_hostname, self._left()), self._ends
        )

    def get_extra_info(self, info: str) -> Any:
        """About the socket."""
        return self._inner.get_extra_info(info)
