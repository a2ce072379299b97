"""Building images from a folder of the repository, without a network unless it is asked for."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from agent_tools.jobs.processes import Finished, run_own_module
from agent_tools.results import Positional, RepositoryText
from agent_tools.workspace.containers.builder import LOG_CHARACTERS, BuildAnswer, BuildJob
from agent_tools.workspace.containers.dockerfile_fetches import fetched
from agent_tools.workspace.containers.engine import LABEL, Engine, EngineError, has_image
from agent_tools.workspace.containers.running import Network, trimmed
from agent_tools.workspace.kept_outputs import keep
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

Report = Callable[[float, float | None, str], Awaitable[None]]

BUILDER = "agent_tools.workspace.containers.builder"
ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
OUTPUT_CAP = 1 << 16
MIB = 1 << 20

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_TAG = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


class ImageBuilt(RepositoryText):
    """An image, or why there is none."""

    image: str = Field(description="id; '' = failed")
    problem: str
    seconds: float
    size_mib: float
    context: str = Field(description="what was sent")
    log: str = Field(description="head and tail")
    kept: str = Field(description="file with all of it, if cut")

    def summary(self) -> str:
        """Say the image, or the problem with the end of the log."""
        if self.image:
            return f"{self.image[:19]}, {self.size_mib} MiB, built in {self.seconds:.1f} s from {self.context}"
        return "\n".join([f"failed after {self.seconds:.1f} s: {self.problem}", *self.log.splitlines()[-8:]])

    def is_failure(self) -> bool:
        """No image makes the command fail."""
        return not self.image


async def image_build(
    root: Root,
    tag: Annotated[str, Field(max_length=200, description="NAME or NAME:VERSION")],
    folder: Annotated[str, Positional, Field(description="what the build sees, less .dockerignore")] = ".",
    report: Report | None = None,
    dockerfile: Annotated[str, Field(description="in the folder")] = "Dockerfile",
    arguments: Annotated[tuple[str, ...], Field(description="NAME=VALUE for ARG; never secrets")] = (),
    target: Annotated[str, Field(description="stage of the Dockerfile")] = "",
    network: Network = "none",
    memory_mib: Annotated[int, Field(ge=64, le=65536)] = 4096,
    max_seconds: Annotated[int, Field(ge=1, le=3600)] = 600,
) -> ImageBuilt:
    """Build an image from a Dockerfile; ending the call ends the build.

    Use it before container_run. By default nothing is fetched: base images have to be here. Not for Dockerfiles of
    strangers: their steps run as root of the container.

    Raises:
        EngineError: no engine, an unusable tag or argument, a context that cannot be sent, or, without a network, a
            base image that is missing and an ADD of what is not in the folder.
        RootError: a folder outside of the root.
    """
    place = _folder(root, folder, dockerfile)
    _check(tag, arguments)
    given = dict(argument.split("=", 1) for argument in arguments)
    text = (place / dockerfile).read_text(encoding="utf-8", errors="replace")
    async with Engine.connected() as engine:
        if network == "none":
            await _refuse_fetching(engine, text, given)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="agent-tools-") as scratch:
        log = Path(scratch) / "log.txt"
        job = BuildJob(
            root=str(root.path),
            folder=str(place),
            dockerfile=dockerfile,
            tag=tag,
            target=target,
            arguments=given,
            network=network,
            labels={LABEL: "image"},
            memory=memory_mib * MIB,
            log=str(log),
            seconds=max_seconds,
        )
        finished = await _run(job, log, max_seconds, report)
        said = shown(log.read_bytes()) if log.exists() else ""
    return _result(root, finished, said, time.monotonic() - started, max_seconds)


def _folder(root: Root, folder: str, dockerfile: str) -> Path:
    place = root.resolve(folder)
    file = root.resolve(f"{folder}/{dockerfile}")
    if not place.is_dir() or not file.is_relative_to(place) or not file.is_file():
        raise EngineError(f"'{dockerfile}' is no file in the folder '{folder}'; name a Dockerfile that lies in it.")
    return place


def _check(tag: str, arguments: tuple[str, ...]) -> None:
    if not _TAG.fullmatch(tag):
        raise EngineError(f"{tag!r} is no tag; write a name in lower case and, after a colon, a version: trainer:1.")
    for argument in arguments:
        if not _ARGUMENT.fullmatch(argument):
            raise EngineError(f"{argument[:80]!r} is no build argument; write NAME=VALUE.")


async def _refuse_fetching(engine: Engine, dockerfile: str, arguments: dict[str, str]) -> None:
    images, sources = fetched(dockerfile, arguments)
    if sources:
        raise EngineError(
            f"ADD {shown(sources[0])[:100]} would be fetched; allow it with network=bridge, or COPY a file."
        )
    for image in images:
        if not await engine.ask(partial(has_image, image=image)):
            raise EngineError(
                f"The base image '{shown(image)[:100]}' is not on this engine; `docker pull` brings it, "
                "or network=bridge lets the build fetch it."
            )


async def _run(job: BuildJob, log: Path, seconds: float, report: Report | None) -> Finished:
    async def follow() -> None:
        steps = _STEP.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else []
        if steps and report is not None:
            done, total, words = steps[-1]
            await report(float(done) - 1, float(total), shown(words)[:100])

    # Without a home nobody's registry passwords are sent along, and none of their helper programs is started.
    return await run_own_module(
        BUILDER,
        job.model_dump_json(),
        folder=Path(job.root),
        variables={name: os.environ[name] for name in ENGINE_VARIABLES if name in os.environ},
        seconds=seconds,
        output_cap=OUTPUT_CAP,
        watch=follow,
    )


def _result(root: Root, finished: Finished, text: str, seconds: float, limit: int) -> ImageBuilt:
    answer = BuildAnswer(failed=f"stopped after {limit} s; raise max_seconds (3600 at most)")
    if not finished.timed_out:
        if finished.exit_code != 0:
            said = shown(finished.errors).strip().rpartition("\n")[2][:300]
            raise EngineError(f"The builder ended by itself with exit code {finished.exit_code}: {said}")
        answer = BuildAnswer.model_validate_json(finished.output)
    if answer.refused:
        raise EngineError(shown(answer.refused))
    short, cut = trimmed(text[:LOG_CHARACTERS])
    return ImageBuilt(
        image=answer.image,
        problem=" ".join(shown(answer.failed).split())[:400],
        seconds=round(seconds, 2),
        size_mib=round(answer.size / MIB, 1),
        context=f"{answer.context_files} files, {answer.context_bytes / MIB:.1f} MiB" if answer.context_files else "",
        log=short,
        kept=keep(root, "build.log", text) if cut else "",
    )
