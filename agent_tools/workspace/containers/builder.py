"""The process that builds an image: `python -m agent_tools.workspace.containers.builder JOB` prints one JSON answer.

A process of its own, because a build can only be cancelled by closing its connection to the engine, which ends with it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agent_tools.records.errors import WorkbenchError
from agent_tools.workspace.containers.build_context import collect
from agent_tools.workspace.containers.engine import answered, connect
from agent_tools.workspace.root import Root

LOG_CHARACTERS = 8 << 20
"""What follows is left out of the log, so that a build that prints without end fills no disk."""


class BuildJob(BaseModel):
    """What the process is asked to build, and where it writes its log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str
    folder: str
    dockerfile: str
    tag: str
    target: str
    arguments: dict[str, str]
    network: str
    labels: dict[str, str]
    memory: int
    log: str
    seconds: float


class BuildAnswer(BaseModel):
    """What it made; `refused` is a sentence in place of all else, `failed` the engine's word on a build that ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = ""
    size: int = 0
    context_files: int = 0
    context_bytes: int = 0
    failed: str = ""
    refused: str = ""


def build(job: BuildJob) -> BuildAnswer:
    """Send the context, follow the build, and look at what came out.

    Raises:
        WorkbenchError: no engine, or a context that cannot be sent.
    """
    root = Root.at(Path(job.root))
    context = collect(root, Path(job.folder), job.dockerfile)
    with (
        closing(connect()) as client,
        tempfile.TemporaryFile() as archive,
        Path(job.log).open("w", encoding="utf-8", errors="replace") as log,
    ):
        context.write(archive)
        archive.seek(0)
        log.write(f"sending {len(context.files)} files, {context.size} bytes\n")
        log.flush()
        failed = answered(client, lambda client: _write(log, _entries(client, job, archive)))
        made = {} if failed else answered(client, lambda client: client.api.inspect_image(job.tag))
    return BuildAnswer(
        image=str(made.get("Id", "")),
        size=int(made.get("Size", 0)),
        context_files=len(context.files),
        context_bytes=context.size,
        failed=failed,
    )


def _entries(client: Any, job: BuildJob, archive: Any) -> Iterator[dict[str, Any]]:
    entries: Iterator[dict[str, Any]] = client.api.build(
        fileobj=archive,
        custom_context=True,
        decode=True,
        timeout=job.seconds,
        dockerfile=job.dockerfile,
        tag=job.tag,
        target=job.target or None,
        buildargs=job.arguments,
        network_mode=job.network,
        labels=job.labels,
        container_limits={"memory": job.memory, "memswap": job.memory},
        rm=True,
        forcerm=True,
        use_config_proxy=False,
    )
    return entries


def _write(log: Any, entries: Iterable[dict[str, Any]]) -> str:
    """Write what the engine says as it comes; return why the build failed, or ''."""
    room = LOG_CHARACTERS
    for entry in entries:
        if "error" in entry:
            return str(entry["error"])
        text = str(entry.get("stream") or "")
        if room > 0:
            log.write(text[:room])
            log.flush()
        room -= len(text)
    return ""


def main() -> None:
    """Build the one image that the arguments describe."""
    try:
        said = build(BuildJob.model_validate_json(sys.argv[1]))
    except (WorkbenchError, OSError) as error:
        said = BuildAnswer(refused=str(error))
    sys.stdout.write(said.model_dump_json())


if __name__ == "__main__":
    main()
