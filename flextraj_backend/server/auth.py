"""Who may call: the bearer of the token, under one of our own names, and no web page of somebody else.

The checks of `Host` and `Origin` stop web pages (DNS rebinding, cross-site requests); the token stops other
users and programs of the machine.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blender_addon.core.errors import ErrorCode

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class HostRule:
    """The names under which a server that listens on `host` may be called."""

    def __init__(self, host: str) -> None:
        self._names = _LOOPBACK_NAMES | {host.lower()}
        self._is_open = not is_loopback(host)
        if self._is_open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    @property
    def advice(self) -> str:
        """What a caller by another name is told."""
        if not self._is_open:
            return "call it by 127.0.0.1 or localhost."
        return f"call it by its IP address or by {socket.gethostname().lower()}."

    def allows(self, authority: str) -> bool:
        """Whether a `Host` header (name or address, perhaps with a port) is one of ours."""
        try:
            name = urlsplit(f"//{authority}").hostname
        except ValueError:
            return False
        if not name or set(authority) & set("/@?#\\ "):
            return False
        # Rebinding needs a name of the attacker's: an address cannot be rebound.
        return name in self._names or (self._is_open and _is_address(name))

    def allows_origin(self, origin: str, authority: str) -> bool:
        """Whether a web page of this origin was served by the very address that the request calls.

        Another port of this machine is another origin: any program may serve a page there.
        """
        return self.allows(authority) and origin.lower() == f"http://{authority.lower()}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class GuardMiddleware:
    """Answers 401 or 403 before anything of a refused request is read."""

    def __init__(self, app: ASGIApp, token: str, rule: HostRule) -> None:
        self._app, self._expected, self._rule = app, f"Bearer {token}".encode(), rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["headers"])
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await _answer(send, *refusal)

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
        def values(name: bytes) -> list[bytes]:
            return [value for key, value in headers if key == name]

        hosts, origins, tokens = values(b"host"), values(b"origin"), values(b"authorization")
        if len(hosts) != 1 or not self._rule.allows(hosts[0].decode("latin-1")):
            return 403, f"The request's Host is not this backend's: {self._rule.advice}"
        host = hosts[0].decode("latin-1")
        if any(not self._rule.allows_origin(origin.decode("latin-1"), host) for origin in origins):
            return 403, "Web pages of another origin may not call this backend."
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0], self._expected):
            return 401, "The token is missing or wrong: send 'Authorization: Bearer <token of this backend>'."
        return None


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": {"code": ErrorCode.BACKEND, "message": sentence}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
