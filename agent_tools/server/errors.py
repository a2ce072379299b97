"""Where exceptions become sentences for a client."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.shared.exceptions import MCPError

from agent_tools.records.errors import WorkbenchError

logger = logging.getLogger(__name__)

SPOKEN = (ToolError, ResourceError, MCPError)
"""Errors of the SDK whose text reaches the client as it is."""


ERROR_CHARACTERS = 2000
"""Of an error that quotes what it was given; the caller knows that value."""


@contextmanager
def in_one_sentence(
    what: str, as_error: Callable[[str], Exception], as_unexpected: Callable[[str], Exception] | None = None
) -> Iterator[None]:
    """Raise a project's own error with its sentence, and any other one with nothing but a reference to the log.

    Args:
        what: was called; it begins the sentence of an unexpected error.
        as_error: makes the SDK's error from the sentence.
        as_unexpected: the same for an unexpected one; by default `as_error`.
    """
    try:
        yield
    except SPOKEN:
        raise
    except WorkbenchError as error:
        raise as_error(_said(error)) from error
    except Exception as error:
        raise (as_unexpected or as_error)(_referred(what, error)) from error


def _said(error: WorkbenchError) -> str:
    """The error's sentence: short where it quotes a long value, and closed where it ends with a program's words."""
    text = str(error)
    if len(text) > ERROR_CHARACTERS:
        text = f"{text[: ERROR_CHARACTERS // 2]} [...] {text[-ERROR_CHARACTERS // 2 :]}"
    return f"{text}." if text[-1:].isalnum() else text


def _referred(what: str, error: Exception) -> str:
    reference = secrets.token_hex(4)
    logger.error("%s failed (reference %s)", what, reference, exc_info=error)
    why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{what} failed inside{why}; the server's log on stderr says why, under reference {reference}."
