"""The Docker engine, reached through its SDK: it answers within seconds, or a sentence says how to start one.

The only place that imports docker. What this project makes carries a label with the process that made it, so that the
next run finds what a killed one left behind.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from agent_tools.jobs.processes import is_alive, own_start
from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.untrusted import shown

T = TypeVar("T")

CONNECT_SECONDS = 5
"""For the first answer: an engine that hangs looks like one that is not there."""

ANSWER_SECONDS = 30
"""For every later one: a busy disk may need that long to make a container."""

LABEL = "agent-tools"
OWNER = "agent-tools.owner"

DEFAULT_HOST = "unix:///var/run/docker.sock"
SAID_CHARACTERS = 400


class EngineError(WorkbenchError):
    """No engine answers, or it refuses what was asked."""


class Engine:
    """A connection to the engine that `DOCKER_HOST` names, or to the one of this machine."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def connected(cls) -> AsyncIterator[Engine]:
        """Connect within `CONNECT_SECONDS`, and close the connection at the end.

        Raises:
            EngineError: the SDK is missing, or no engine answers.
        """
        client = await anyio.to_thread.run_sync(connect)
        with closing(client):
            yield cls(client)

    async def ask(self, question: Callable[[Any], T]) -> T:
        """Put a question to the SDK's client, on a thread.

        Raises:
            EngineError: the engine refuses, with its words, or does not answer within `ANSWER_SECONDS`.
        """
        return await anyio.to_thread.run_sync(partial(answered, self._client, question))

    async def remove(self, name: str) -> str:
        """Remove a container with what runs in it and its own volumes; return a sentence where that failed, or ''."""
        try:
            await self.ask(lambda client: _remove(client, name))
        except EngineError as error:
            return f"The container {name} could not be removed ({error}); the next container_run tries again."
        return ""

    async def sweep(self) -> list[str]:
        """Remove the containers whose server was killed; return their names."""
        return await self.ask(_sweep)


def connect() -> Any:
    """Return the SDK's client of an engine that has answered.

    Raises:
        EngineError: the SDK is missing, or no engine answers.
    """
    try:
        import docker  # noqa: PLC0415 - an extra
        from docker.constants import MINIMUM_DOCKER_API_VERSION  # noqa: PLC0415
        from docker.errors import DockerException  # noqa: PLC0415
    except ImportError as error:
        raise EngineError(
            "The Docker SDK is not installed; `pip install 'ocr-workbench[docker]'` brings it."
        ) from error
    try:
        # The SDK would do both by itself, but leaves its connection open where nobody answers.
        _check_socket()
        with closing(docker.from_env(version=MINIMUM_DOCKER_API_VERSION, timeout=CONNECT_SECONDS)) as first:
            version = first.api.version(api_version=False)["ApiVersion"]
        return docker.from_env(version=version, timeout=ANSWER_SECONDS)
    except (DockerException, OSError, ValueError) as error:
        raise EngineError(
            f"No Docker engine answers at {host()}; start one (`sudo systemctl start docker`, or Docker Desktop), "
            "let this user use its socket, or name another engine in DOCKER_HOST and start the server again."
        ) from error


def _check_socket() -> None:
    place = socket_file()
    if place is not None:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_SECONDS)
            probe.connect(str(place))


def answered(client: Any, question: Callable[[Any], T]) -> T:
    """Return the answer, or the engine's refusal as a sentence.

    Raises:
        EngineError: the engine refused, or did not answer in time.
    """
    from docker.errors import APIError, DockerException  # noqa: PLC0415 - an extra

    try:
        return question(client)
    except APIError as error:
        raise EngineError(f"The Docker engine refuses: {_said(error.explanation or error)}.") from error
    except (DockerException, OSError) as error:
        raise EngineError(f"The Docker engine at {host()} stopped answering ({type(error).__name__}).") from error


def _said(words: object) -> str:
    return " ".join(shown(str(words)).split()).rstrip(".")[:SAID_CHARACTERS]


def host() -> str:
    """Return where the engine is looked for."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_HOST


def socket_file() -> Path | None:
    """Return the engine's socket; None where it is reached over a network, so that paths here mean nothing to it."""
    scheme, _, place = host().partition("://")
    return Path(os.path.realpath(place)) if scheme in ("unix", "http+unix") else None


def is_socket(path: Path) -> bool:
    """Tell whether a path is a socket of whatever program."""
    return stat.S_ISSOCK(path.stat().st_mode)


def run_labels() -> dict[str, str]:
    """Return the labels of a container that this process makes."""
    return {LABEL: "run", OWNER: f"{_here()}:{os.getpid()}:{own_start():.0f}"}


def has_image(client: Any, image: str) -> bool:
    """Tell whether the engine has an image."""
    from docker.errors import NotFound  # noqa: PLC0415 - an extra

    try:
        client.api.inspect_image(image)
    except NotFound:
        return False
    return True


def is_left_behind(owner: str) -> bool:
    """Tell whether the process that made a container is gone; one of another machine cannot be judged from here."""
    place, _, process = owner.partition(":")
    pid, _, started = process.partition(":")
    if place != _here() or not (pid.isdigit() and started.isdigit()):
        return False
    return not is_alive(int(pid), float(started))


def _here() -> str:
    # A server in a container that shares the engine has other process ids: it must not take ours for dead ones.
    namespace = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return f"{socket.gethostname()}/{namespace.partition('[')[2].rstrip(']')}"


def _remove(client: Any, name: str) -> None:
    from docker.errors import NotFound  # noqa: PLC0415 - an extra

    with suppress(NotFound):
        client.api.remove_container(name, force=True, v=True)


def _sweep(client: Any) -> list[str]:
    found = client.containers.list(all=True, filters={"label": f"{LABEL}=run"}, ignore_removed=True)
    left = [one for one in found if is_left_behind(one.labels.get(OWNER, ""))]
    for one in left:
        _remove(client, one.id)
    return [one.name for one in left]


def new_name() -> str:
    """Return a name for a container that no other has."""
    return f"agent-tools-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"
