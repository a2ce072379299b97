"""What lasts as long as a call, and what as long as a server."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from mcp.server import MCPServer

logger = logging.getLogger(__name__)

TIDY_AFTER_SECONDS = 1.0
"""The first answers come before: looking at every process of the machine takes a moment."""


@asynccontextmanager
async def tidying(_server: MCPServer) -> AsyncIterator[None]:
    """End, beside the first calls, what a server that was killed left running."""

    async def tidy() -> None:
        await anyio.sleep(TIDY_AFTER_SECONDS)
        # By now the first answers are out, and it need not wait for this.
        from agent_tools.jobs.processes import end_abandoned  # noqa: PLC0415

        if count := await anyio.to_thread.run_sync(end_abandoned):
            logger.warning("ended %d processes that a killed server had left", count)

    async with anyio.create_task_group() as group:
        group.start_soon(tidy)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def set_when_cancelled() -> AsyncIterator[threading.Event]:
    """An event for work on a thread, which hears of a cancelled call in no other way."""
    cancel = threading.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancel.set()

    failures: tuple[Exception, ...] = ()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            yield cancel
            group.cancel_scope.cancel()
    except ExceptionGroup as error:
        # A task group wraps what its body raises; here that is the one error of the call.
        failures = error.exceptions
    for failure in failures:
        raise failure
