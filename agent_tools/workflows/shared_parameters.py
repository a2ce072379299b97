"""Parameters that several tools share: written once, in the function that makes something of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

FILLED_IN = ("root", "progress", "cancel", "resume_with")
"""Parameters that whoever runs a tool fills in: a job's command line has its own."""


def asks(parameter: str, make: Callable[..., Any]) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Return a decorator that gives a tool the parameters of `make` in place of its own one called `parameter`.

    The tool calls that one to get what `make` makes of them, when it needs it. Keyword-only parameters of `make` are
    the tool's to give.
    """
    asked = {
        name: part
        for name, part in parameters(make).items()
        if name != "root" and part.kind is not inspect.Parameter.KEYWORD_ONLY
    }

    def give(function: Callable[..., Result]) -> Callable[..., Result]:
        own = parameters(function)
        before = [part for name, part in own.items() if name not in (*FILLED_IN[1:], parameter)]
        filled = [part for name, part in own.items() if name in FILLED_IN[1:]]
        shared = [part for name, part in asked.items() if name != "overrides"]

        @functools.wraps(function)
        def run(root: Any, **given: Any) -> Result:
            parts = {name: given.pop(name) for name in asked if name in given}
            return function(root, **{parameter: functools.partial(make, root, **parts)}, **given)

        # The words that a command line ends with stay last.
        returned = inspect.signature(function, eval_str=True).return_annotation
        set_signature(run, [*before, *shared, asked["overrides"], *filled], returned)
        return run

    return give


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return a function's parameters by name, with evaluated annotations."""
    return dict(inspect.signature(function, eval_str=True).parameters)


def set_signature(function: Callable[..., Any], shown: list[inspect.Parameter], returned: Any) -> None:
    """Let a function be announced with these parameters, all of them by name."""
    named = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in shown]
    signature = inspect.Signature(named, return_annotation=returned)
    function.__signature__ = signature  # type: ignore[attr-defined]
