"""Functions by name, whose modules are imported when one of them is asked for.

The server answers its first questions before it has imported what its tools are made of: that takes several times as
long as everything else it does at its start.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class Later:
    """What can be reached from a package by dots: `Later(package).module.function`; nothing is imported by the dots."""

    def __init__(self, start: ModuleType | str) -> None:
        self._path = start if isinstance(start, str) else start.__name__

    def __getattr__(self, name: str) -> Later:
        if name.startswith("_"):
            # What copies, pickles or inspects objects asks for such names, and has to hear that there are none.
            raise AttributeError(name)
        return Later(f"{self._path}.{name}")

    def resolved(self) -> Callable[..., Any]:
        """Import the module, if that was not done before, and return the function.

        Raises:
            AttributeError: the module has no such function.
            ModuleNotFoundError: there is no such module.
        """
        module, _, name = self._path.rpartition(".")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function
