"""The syntax tree of somebody else's Python: nothing is run, and no warning about it is ours."""

from __future__ import annotations

import ast
import warnings

UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What parsing ends with where a text is no Python, or is made to break a parser."""


def parse_python(source: str | bytes) -> ast.Module:
    """Parse a file of Python.

    Raises:
        SyntaxError: it is none; or another error of `UNPARSABLE`.
    """
    with warnings.catch_warnings():
        # An odd escape in a string is a matter of whoever wrote it.
        warnings.simplefilter("ignore")
        return ast.parse(source)
