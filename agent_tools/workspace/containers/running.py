"""Containers that can do no harm: without privileges, network or a way to write here, within limits, then removed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import anyio
from pydantic import Field

from agent_tools.results import RepositoryText
from agent_tools.workspace.containers.engine import (
    Engine,
    EngineError,
    has_image,
    is_socket,
    new_name,
    run_labels,
    socket_file,
)
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

Report = Callable[[float, float | None, str], Awaitable[None]]
Network = Annotated[Literal["none", "bridge"], Field(description="bridge reaches the internet")]

MIB = 1 << 20
LOG_MIB = 2
"""The engine keeps the last one or two times as much of what a container prints, and no more."""

TMP_MIB = 64
HEAD_CHARACTERS, TAIL_CHARACTERS = 1500, 3500
LINES_SAID = 10
LONGEST_PAUSE = 0.3
RESERVED = ("proc", "sys", "dev")


class ContainerRun(RepositoryText):
    """How a command in a container ended."""

    exit_code: int = Field(description="-1: stopped at max_seconds")
    seconds: float
    out_of_memory: bool
    stdout: str = Field(description="head and tail")
    stderr: str
    kept: str = Field(description="more of it, if cut")
    note: str

    def summary(self) -> str:
        """Say what a short output was, or the end of a long one, and the exit code."""
        output = [text for text in map(_last_lines, (self.stdout, self.stderr)) if text]
        kept = [f"more output: {self.kept}"] if self.kept else []
        ended = f"exit code {self.exit_code} after {self.seconds:.1f} s"
        return "\n".join([*output, *kept, ended, self.note]).rstrip()

    def is_failure(self) -> bool:
        """The command's own failure makes this one fail."""
        return self.exit_code != 0


async def container_run(
    root: Root,
    image: Annotated[str, Field(min_length=1)],
    report: Report | None = None,
    command: Annotated[tuple[str, ...], Field(description="words; none: the image's own")] = (),
    mounts: Annotated[str, Field(description="read-only, with commas: PATH (at /mnt/PATH) or PATH:/TARGET")] = "",
    memory_mib: Annotated[int, Field(ge=16, le=65536)] = 512,
    cpus: Annotated[float, Field(ge=0.05, le=64)] = 1.0,
    pids: Annotated[int, Field(ge=1, le=4096)] = 128,
    network: Network = "none",
    user: Annotated[int, Field(ge=1)] = 65534,
    writable: Annotated[bool, Field(description="not only /tmp")] = False,
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 120,
) -> ContainerRun:
    """Run a command in a new container of a local image, return what it printed, and remove the container.

    Use it for code that must not touch this machine: no privileges, no root user. Files do not come out, only output.
    Not for services.

    Raises:
        EngineError: no engine, no such image, or a mount that is refused.
        RootError: a mount outside of the root.
    """
    settings = {
        "memory": memory_mib,
        "cpus": cpus,
        "pids": pids,
        "network": network,
        "user": user,
        "writable": writable,
    }
    made = confined(settings) | {"mounts": _binds(root, mounts)}
    async with Engine.connected() as engine:
        swept = await engine.sweep()
        run = _Run(engine, new_name(), report, max_seconds, swept)
        return await run.to_end(root, image, command, made)


def confined(settings: dict[str, Any]) -> dict[str, Any]:
    """Return how the engine is to make a container: within its limits, and without what it could break out with."""
    return {
        "mem_limit": settings["memory"] * MIB,
        "memswap_limit": settings["memory"] * MIB,
        "nano_cpus": int(settings["cpus"] * 1e9),
        "pids_limit": settings["pids"],
        "network_mode": settings["network"],
        "user": f"{settings['user']}:{settings['user']}",
        "read_only": not settings["writable"],
        "tmpfs": {"/tmp": f"size={TMP_MIB}m,mode=1777"},  # noqa: S108 - the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "privileged": False,
        "ipc_mode": "private",
        "healthcheck": {"test": ["NONE"]},
        "log_config": {"type": "local", "config": {"max-size": f"{LOG_MIB}m", "max-file": "2", "compress": "false"}},
        "labels": run_labels(),
        "detach": True,
    }


def _binds(root: Root, mounts: str) -> list[dict[str, Any]]:
    binds = [_bind(root, mount) for mount in mounts.split(",") if mount]
    if binds and socket_file() is None:
        raise EngineError("The engine of DOCKER_HOST is on another machine, where paths of this one mean nothing.")
    return binds


def _bind(root: Root, mount: str) -> dict[str, Any]:
    source, _, target = mount.partition(":")
    path = root.resolve(source)
    engine = socket_file()
    if is_socket(path) or (engine is not None and engine.is_relative_to(path)):
        raise EngineError(f"'{source}' is or holds a socket, and with the engine's a container could do anything here.")
    place = PurePosixPath(target or PurePosixPath("/mnt", root.relative(path)))
    parts = place.parts[1:]
    if not place.is_absolute() or not parts or ".." in parts or parts[0] in RESERVED or not target.isprintable():
        raise EngineError(f"'{mount}' has no usable target; write PATH:/TARGET, not under /proc, /sys or /dev.")
    # As the engine has it: unlike a short "SOURCE:TARGET", this refuses a source that has vanished meanwhile.
    return {"Type": "bind", "Source": str(path), "Target": str(place), "ReadOnly": True}


@dataclass
class _Run:
    """One container from its making to its removal."""

    engine: Engine
    name: str
    report: Report | None
    limit: float
    swept: list[str]
    started: float = field(default_factory=time.monotonic)

    async def to_end(self, root: Root, image: str, command: tuple[str, ...], settings: dict[str, Any]) -> ContainerRun:
        # In the order of whatever can go wrong: a container that is only made has to be removed, too.
        try:
            await self.engine.ask(lambda client: _create(client, image, command, self.name, settings))
            await self.engine.ask(lambda client: client.api.start(self.name))
            ended = await self._wait()
            state = await self.engine.ask(lambda client: _state(client, self.name))
            output, errors = await self.engine.ask(lambda client: _output(client, self.name))
        finally:
            with anyio.CancelScope(shield=True):
                problem = await self.engine.remove(self.name)
        return self._result(root, state if ended else {}, (output, errors), problem)

    async def _wait(self) -> bool:
        """Whether the container ended by itself."""
        pause = 0.02
        with anyio.move_on_after(self.limit):
            while True:
                state = await self.engine.ask(lambda client: _state(client, self.name))
                if state["Status"] in ("exited", "dead"):
                    return True
                if self.report is not None:
                    await self.report(round(self._seconds(), 1), self.limit, f"{self.name} {state['Status']}")
                await anyio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)
        await self.engine.ask(lambda client: _kill(client, self.name))
        return False

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _result(self, root: Root, state: dict[str, Any], streams: tuple[bytes, bytes], problem: str) -> ContainerRun:
        output, errors = map(shown, streams)
        (head, errors_head), cut = zip(*map(trimmed, (output, errors)), strict=True)
        full = f"{output}\n--- stderr ---\n{errors}" if errors else output
        stopped = "" if state else f"stopped after {self.limit} s; raise max_seconds (3600 at most)"
        left = f"removed what a killed server had left: {', '.join(self.swept)}" if self.swept else ""
        return ContainerRun(
            exit_code=state.get("ExitCode", -1),
            seconds=round(self._seconds(), 2),
            out_of_memory=state.get("OOMKilled", False),
            stdout=head,
            stderr=errors_head,
            kept=keep(root, "container.log", full) if any(cut) else "",
            note="; ".join(filter(None, [stopped, problem, left])),
        )


def _last_lines(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return text if len(lines) <= LINES_SAID else "".join(lines[-LINES_SAID:])


def trimmed(text: str) -> tuple[str, bool]:
    """Return the head and the tail of a text, and whether something between them was left out."""
    left_out = len(text) - HEAD_CHARACTERS - TAIL_CHARACTERS
    if left_out <= 0:
        return text, False
    return f"{text[:HEAD_CHARACTERS]}\n[... {left_out} characters left out]\n{text[-TAIL_CHARACTERS:]}", True


def _create(client: Any, image: str, command: tuple[str, ...], name: str, settings: dict[str, Any]) -> None:
    if not has_image(client, image):
        raise EngineError(
            f"There is no image '{shown(image)}' on this engine; container_status lists ours, image_build makes one, "
            "and `docker pull` brings one."
        )
    client.containers.create(image, list(command) or None, name=name, **settings)


def _state(client: Any, name: str) -> dict[str, Any]:
    state: dict[str, Any] = client.api.inspect_container(name)["State"]
    return state


def _output(client: Any, name: str) -> tuple[bytes, bytes]:
    return client.api.logs(name, stdout=True, stderr=False), client.api.logs(name, stdout=False, stderr=True)


def _kill(client: Any, name: str) -> None:
    from docker.errors import APIError  # noqa: PLC0415 - an extra

    try:
        client.api.kill(name)
    except APIError as error:
        # It may have ended between the two looks.
        if error.status_code != 409:
            raise
