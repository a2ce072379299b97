"""The server over HTTP: who may come in, and what happens to a call whose client is gone.

On this machine alone, no token is needed: the Host and Origin headers are checked, so that a web page cannot reach the
server through a browser. For any other address a token and a list of the names that clients use are required.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import socket
import sys
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_tools.records.errors import WorkbenchError

PATH = "/mcp"
TOKEN_VARIABLE = "AGENT_TOOLS_TOKEN"  # noqa: S105 - the name of a variable
SHORTEST_TOKEN = 16
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
GRACE_SECONDS = 2
"""For open connections, once the server is told to end."""


class DoorError(WorkbenchError):
    """A way of listening that would let the wrong ones in, or none."""


@dataclass(frozen=True)
class Door:
    """Where the server listens and whom it lets in.

    Attributes:
        host: address to listen on.
        port: 0 for a free one.
        token: what clients have to send; '' where none is needed.
        names: Host headers that are accepted, as the SDK matches them (`name:*` for any port).
    """

    host: str
    port: int
    token: str
    names: tuple[str, ...]

    @property
    def security(self) -> TransportSecuritySettings:
        """The checks of the Host and Origin headers."""
        origins = [f"{scheme}://{name}" for name in self.names for scheme in ("http", "https")]
        return TransportSecuritySettings(allowed_hosts=list(self.names), allowed_origins=origins)


def door(
    host: str, port: int, token_file: Path | None, allowed: Sequence[str], environment: MutableMapping[str, str]
) -> Door:
    """Decide who may come in.

    Args:
        host: address to listen on.
        port: to listen on.
        token_file: holds the token; without one, `AGENT_TOOLS_TOKEN` of the environment is taken, and removed from it,
            so that no process that a tool starts sees it.
        allowed: names besides those of this machine that clients may call it by.
        environment: of this process.

    Raises:
        DoorError: others could come in, and there is no token or no list of names; or the token is unusable.
    """
    token = _token(token_file, environment)
    names = [one for name in (*LOOPBACK_NAMES, *allowed) for one in _matched_names(name)]
    if _is_loopback(host) and not allowed:
        return Door(host, port, token, tuple(names))
    if not token:
        raise DoorError(
            f"Others than this machine could reach the server ({host}), so clients must send a token: put "
            f"{SHORTEST_TOKEN} or more characters into a file and name it with --token-file, or into {TOKEN_VARIABLE}."
        )
    if not allowed:
        raise DoorError(
            f"The server would listen on {host}; name what clients call this machine by with --allow-host NAME, so "
            "that no web page can reach it under another name."
        )
    return Door(host, port, token, tuple(names))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _matched_names(name: str) -> tuple[str, ...]:
    if not name or not name.isascii() or not name.isprintable() or any(sign in name for sign in "/*@ "):
        raise DoorError(
            f"--allow-host is {name!r}; give a name or address, with a port or without, such as box.lan:8765."
        )
    if name.count(":") > 1 and not name.startswith("["):
        raise DoorError(f"--allow-host is {name!r}; an IPv6 address stands in brackets, as clients send it: [{name}].")
    has_port = name.rpartition("]")[2].count(":") == 1
    return (name,) if has_port else (name, f"{name}:*")


def _token(file: Path | None, environment: MutableMapping[str, str]) -> str:
    given = environment.pop(TOKEN_VARIABLE, "").strip()
    if file is not None:
        given = _read_token(file)
    if given and (len(given) < SHORTEST_TOKEN or not given.isascii() or not given.isprintable() or " " in given):
        raise DoorError(
            f"The token has {len(given)} characters; it needs {SHORTEST_TOKEN} or more, ASCII without spaces, such as "
            "the output of `openssl rand -hex 32`."
        )
    return given


def _read_token(file: Path) -> str:
    try:
        if file.stat().st_mode & 0o077:
            raise DoorError(f"{file} can be read by others; `chmod 600 {file}`, then start again.")
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DoorError(f"The token file {file} cannot be read ({getattr(error, 'strerror', 'not text')}).") from error
    if not token:
        raise DoorError(f"The token file {file} is empty; put a token of {SHORTEST_TOKEN} or more characters into it.")
    return token


def application(server: MCPServer, opened: Door) -> ASGIApp:
    """The server as an ASGI application, with its guards around it."""
    app: ASGIApp = server.streamable_http_app(streamable_http_path=PATH, transport_security=opened.security)
    app = EndsCallsOfVanishedClients(app)
    return NeedsToken(app, opened.token) if opened.token else app


class NeedsToken:
    """Refuses every request that does not carry the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has the token."""
        if scope["type"] == "http" and not self._knows(scope):
            refusal = PlainTextResponse("a bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


class EndsCallsOfVanishedClients:
    """Cancels the call of a client that closed its connection before it had the answer.

    The SDK lets such a call of the older protocol run on, since a client could come back for the answer. This server
    keeps none for later, so nobody could ever get it, and the processes of the call would run for nobody.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; cancel its call if the client is gone before the end of the answer."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _header(scope, b"mcp-session-id"):
            await self._app(scope, receive, send)
            return
        watch = _Watch(receive, send)
        await self._app(scope, watch.receive, watch.send)
        if watch.vanished:
            await self._cancel(scope, bytes(watch.body))

    async def _cancel(self, scope: Scope, body: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):
            request = json.loads(body)
            params = {"requestId": request["id"], "reason": "the client is gone"}
            said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await self._app(scope, _once(json.dumps(said).encode()), _nowhere)


class _Watch:
    """Sees the body of a request, and whether its client left before the end of the answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.body = bytearray()
        self.vanished = False
        self._answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.body += message.get("body", b"")
        elif message["type"] == "http.disconnect":
            self.vanished = not self._answered
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _once(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _nowhere(_message: Message) -> None:
    return None


def serve_http(server: MCPServer, opened: Door) -> None:
    """Serve until a signal ends it; says on stderr where.

    Raises:
        DoorError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in opened.host else socket.AF_INET
    try:
        listening = socket.create_server((opened.host, opened.port), family=family)
    except OSError as error:
        raise DoorError(
            f"{opened.host}:{opened.port} cannot be listened on ({error.strerror}); name another --port, or 0 for a "
            "free one."
        ) from error
    config = uvicorn.Config(
        application(server, opened),
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    host = f"[{opened.host}]" if ":" in opened.host else opened.host
    sys.stderr.write(f"serving on http://{host}:{listening.getsockname()[1]}{PATH}\n")
    sys.stderr.flush()
    uvicorn.Server(config).run(sockets=[listening])
