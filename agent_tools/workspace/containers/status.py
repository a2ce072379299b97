"""What a Docker engine holds that this project made, and what it takes of the disk."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from agent_tools.results import Cursor, RepositoryText, offset
from agent_tools.workspace.containers.engine import LABEL, OWNER, Engine, EngineError, host, is_left_behind
from agent_tools.workspace.untrusted import shown

MIB = 1 << 20
NAME_CHARACTERS = 200


class ContainerStatus(RepositoryText):
    """The engine, and what of it is ours."""

    engine: str
    disk: str = Field(description="of the whole engine")
    entries: list[dict[str, str]] = Field(description="our containers, then images: kind, name, state, made")
    next_cursor: str

    def summary(self) -> str:
        """Say one line per container and image."""
        lines = [f"{row['kind']} {row['name']}: {row['state']}" for row in self.entries]
        more = [f"go on with cursor={self.next_cursor}"] if self.next_cursor else []
        return "\n".join([f"{self.engine}; {self.disk}", *(lines or ["nothing of ours"]), *more])


async def container_status(
    limit: Annotated[int, Field(ge=1, le=200)] = 30,
    cursor: Cursor = "",
) -> ContainerStatus:
    """Show the Docker engine's version and disk use, and the containers and images that these tools made.

    Use it to see whether an engine answers, and which images container_run can take.

    Raises:
        EngineError: no engine answers; the sentence says how to start one.
    """
    async with Engine.connected() as engine:
        version = await engine.ask(lambda client: client.version())
        rows = [*await engine.ask(_containers), *await engine.ask(_images)]
        disk = await _disk(engine)
    start = offset(cursor)
    following = start + limit
    return ContainerStatus(
        engine=shown(f"Docker {version.get('Version')} ({version.get('Os')}/{version.get('Arch')}) at {host()}"),
        disk=disk,
        entries=rows[start:following],
        next_cursor=str(following) if following < len(rows) else "",
    )


async def _disk(engine: Engine) -> str:
    try:
        return await engine.ask(_usage)
    except EngineError as error:
        # Counting takes minutes on a full engine; all else is worth showing without it.
        return f"disk use is not known ({error})"


def _usage(client: Any) -> str:
    found = client.df()
    sizes = {
        "images": int(found.get("LayersSize") or 0),
        "containers": sum(int(one.get("SizeRw") or 0) for one in found.get("Containers") or []),
        "volumes": sum(int((one.get("UsageData") or {}).get("Size") or 0) for one in found.get("Volumes") or []),
        "build cache": sum(int(one.get("Size") or 0) for one in found.get("BuildCache") or []),
    }
    return ", ".join(f"{name} {_mib(size)}" for name, size in sizes.items())


def _containers(client: Any) -> list[dict[str, str]]:
    found = client.api.containers(all=True, filters={"label": f"{LABEL}=run"})
    return [_container(one) for one in sorted(found, key=lambda one: one["Created"], reverse=True)]


def _container(one: dict[str, Any]) -> dict[str, str]:
    left = " (its server is gone: the next container_run removes it)" if _is_left(one) else ""
    name = str((one.get("Names") or [one["Id"][:12]])[0]).lstrip("/")
    state = f"{one.get('Status', '')} of image {one.get('Image', '')}{left}"
    return _row("container", name, state, one["Created"])


def _is_left(one: dict[str, Any]) -> bool:
    return is_left_behind((one.get("Labels") or {}).get(OWNER, ""))


def _images(client: Any) -> list[dict[str, str]]:
    found = client.api.images(filters={"label": f"{LABEL}=image"})
    rows = sorted(found, key=lambda one: one["Created"], reverse=True)
    return [
        _row("image", ", ".join(one.get("RepoTags") or ["untagged"]), _mib(one["Size"]), one["Created"]) for one in rows
    ]


def _row(kind: str, name: str, state: str, created: int) -> dict[str, str]:
    made = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return {"kind": kind, "name": shown(name)[:NAME_CHARACTERS], "state": shown(state)[:NAME_CHARACTERS], "made": made}


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
