"""Modules whose import waits until one of their functions is asked for.

The server answers its first questions before it has imported what its tools are made of: that takes several times as
long as everything else it does at its start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class LaterFunction:
    """A function by name: `resolved` imports its module."""

    module: str
    name: str

    def resolved(self) -> Callable[..., Any]:
        """Import the module, if that was not done before, and return the function."""
        function: Callable[..., Any] = getattr(import_module(self.module), self.name)
        return function


class Later:
    """A module that is not imported yet: each of its attributes is the name of a function."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> LaterFunction:
        return LaterFunction(self._module, name)
