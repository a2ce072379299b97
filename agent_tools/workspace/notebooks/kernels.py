"""Kept kernels: jobs that outlive calls, clients and the server, used by one call at a time, ended when nobody does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from agent_tools.jobs import runners
from agent_tools.jobs.folders import ACTIVE, find_folder
from agent_tools.jobs.processes import own_module
from agent_tools.records.store import write_atomically
from agent_tools.workspace.notebooks.kernel_process import CONNECTION_FILE, KernelError, RunningKernel
from agent_tools.workspace.root import Root
from agent_tools.workspace.untrusted import shown

HOST = "agent_tools.workspace.notebooks.kernel_host"
KIND = "kernel"
KEPT_FILE = "kept.json"
LOCK_FILE = "in_use"

IDLE_SECONDS = 1800
"""A kept kernel that nobody used for so long ends."""


class Kept(BaseModel):
    """What the host of a kept kernel says of it once it listens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    started: float
    folder: Path

    def write(self, place: Path) -> None:
        """Put it into the job's folder."""
        write_atomically(place / KEPT_FILE, self.model_dump_json())


async def start_kept(root: Root, folder: Path, idle_seconds: float = IDLE_SECONDS) -> str:
    """Start a kernel as a job, wait until it listens, and return the job's id; a cancelled start leaves no job running.

    Args:
        root: the repository.
        folder: the kernel's working directory.
        idle_seconds: after so long without use it ends.

    Raises:
        KernelError: it did not start; its last words are quoted.
        JobError: no job can be started.
    """
    command = [*own_module(HOST), str(root.path), str(folder), str(idle_seconds)]
    title = f"kernel in {root.relative(folder)}"
    # A kernel that waits for its next cell must not keep measurements from this machine.
    start = partial(runners.start, command, title, root.path, kind=KIND, measuring=False, runner="local")
    job = (await anyio.to_thread.run_sync(start)).id
    ready = find_folder(root.path, job) / KEPT_FILE
    try:
        while not ready.exists():
            _check_starting(root, job)
            await anyio.sleep(0.03)
    finally:
        if not ready.exists():
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(runners.cancel, job, root.path)
    return job


def _check_starting(root: Root, job: str) -> None:
    """The host itself gives up in time."""
    state = runners.status(job, root.path, 3)
    if state.state.status not in ACTIVE:
        said = shown(" ".join(state.log_tail))[:400] or state.state.message
        raise KernelError(f"The kernel did not start: {said.removesuffix('.')}.")


@contextmanager
def in_use(root: Root, job: str) -> Iterator[tuple[RunningKernel, Path]]:
    """Have a kept kernel to oneself: yield it with its working directory, and interrupt it unless all goes well.

    Raises:
        KernelError: it is in use, ended, or no kernel.
        JobError: there is no such job.
    """
    place = find_folder(root.path, job)
    kept = _kept(root, job, place)
    kernel = RunningKernel(place / CONNECTION_FILE, kept.pid, kept.started)
    with exclusive(place) as mine:
        if not mine:
            raise KernelError(f"Kernel {job} is in use by another call; wait for that, or start one with keep_kernel.")
        if not kernel.is_alive():
            raise KernelError(f"Kernel {job} has ended, and its variables with it; start another with keep_kernel.")
        went_well = False
        try:
            yield kernel, kept.folder
            went_well = True
        finally:
            if not went_well:
                kernel.interrupt()
            os.utime(place / LOCK_FILE)


def _kept(root: Root, job: str, place: Path) -> Kept:
    state = runners.status(job, root.path, 0).state
    if state.kind != KIND:
        raise KernelError(f"Job {job} is no kernel but: {state.title}; job_status without an id lists the kernels.")
    if state.status not in ACTIVE:
        raise KernelError(f"Kernel {job} is {state.status}; start another with keep_kernel.")
    try:
        return Kept.model_validate_json((place / KEPT_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise KernelError(f"Kernel {job} is not ready yet; try again in a moment.") from error


@contextmanager
def exclusive(place: Path) -> Iterator[bool]:
    """Yield whether the kernel with this folder is ours; the operating system frees it when its user dies."""
    with (place / LOCK_FILE).open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
