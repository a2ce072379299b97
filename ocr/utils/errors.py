"""The one family of errors that the trainer raises on purpose."""

import difflib
from collections.abc import Iterable


class OCRError(Exception):
    """A sentence for the user: what was wrong, which value, what is allowed, what to do next."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean X?)" for the allowed name closest to `name`, or an empty string where none is close."""
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
