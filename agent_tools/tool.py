"""One tool of the catalogue: a function, how it is announced, and which arguments it takes from whom."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from agent_tools.later import Later
from agent_tools.records.errors import WorkbenchError
from agent_tools.results import CommandOnly, ToolResult
from agent_tools.tool_parameters import described

INJECTED = ("root", "report", "progress", "cancel", "resume_with", "facts")
"""Parameters that whoever calls fills in; no caller of the server or in a shell can give them."""

Surface = Literal["mcp", "cli", "hidden"]
"""`mcp`: server (where its toolset is served) and command line; `cli`: command line only; `hidden`: not in its help."""


class ArgumentError(WorkbenchError):
    """Arguments that a tool does not have, or values that it does not take."""


class _Arguments(BaseModel):
    # Strict: true is no number, and 1 is not yes.
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True)


@dataclass(frozen=True)
class Tool:
    """One row: a function, how it is announced, and where it is offered."""

    name: str
    work: Callable[..., Any] | Later
    title: str
    read_only: bool
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False
    toolset: str = "default"
    surface: Surface = "mcp"
    foreground: Callable[..., Any] | Later | None = None

    @property
    def command(self) -> Tool:
        """The tool as the command line has it."""
        return replace(self, work=self.foreground, foreground=None) if self.foreground else self

    @cached_property
    def function(self) -> Callable[..., Any]:
        """What does the work; the first look imports its module."""
        return self.work.resolved() if isinstance(self.work, Later) else self.work

    @property
    def command_line(self) -> str:
        """How it is called in a shell: `agent-tools git status`."""
        return " ".join(filter(None, ("agent-tools", self.noun, self.verb)))

    @property
    def hints(self) -> list[str]:
        """What a caller should know before calling it, in words."""
        said = {
            "read-only": self.read_only,
            "writes": not self.read_only,
            "destructive": self.destructive,
            "idempotent": self.idempotent,
            "open world": self.open_world,
        }
        return [hint for hint, holds in said.items() if holds]

    @property
    def noun(self) -> str:
        """The group: `git` of `git_status`."""
        return self.name.partition("_")[0]

    @property
    def verb(self) -> str:
        """The command in its group: `status` of `git_status`; '' where the noun is the command."""
        return self.name.partition("_")[2]

    @property
    def description(self) -> str:
        """The function's docstring up to its sections."""
        return inspect.cleandoc(self.function.__doc__ or "").partition("\n\nRaises:")[0]

    @cached_property
    def signature(self) -> inspect.Signature:
        """The whole signature, with evaluated annotations."""
        return inspect.signature(self.function, eval_str=True)

    @property
    def result(self) -> type[ToolResult]:
        """The model that the function returns."""
        model = self.signature.return_annotation
        if not (isinstance(model, type) and issubclass(model, ToolResult)):
            raise TypeError(f"{self.name} returns {model}, not a ToolResult")
        return model

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a caller gives."""
        return {name: given for name, given in self.signature.parameters.items() if name not in INJECTED}

    @cached_property
    def offered(self) -> dict[str, inspect.Parameter]:
        """The parameters that a client of the server may give: all but those marked `CommandOnly`."""
        return {name: given for name, given in self.parameters.items() if not _is_command_only(given)}

    @cached_property
    def _model(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            name: (given.annotation, ... if given.default is given.empty else given.default)
            for name, given in self.parameters.items()
        }
        return create_model(f"{self.name}_arguments", __base__=_Arguments, **fields)

    def check_offered(self, arguments: Mapping[str, Any]) -> None:
        """Refuse names that a client of the server may not give; values are checked by `check`.

        Raises:
            ArgumentError: an unknown name (the nearest that may be given is named), or one of the command line only.
        """
        for name in arguments:
            if name not in self.parameters:
                raise ArgumentError(self._unknown(name, self.offered))
            if name not in self.offered:
                flag = name.replace("_", "-")
                raise ArgumentError(
                    f"{self.name} takes {name!r} on the command line only: `{self.command_line} --{flag}`. "
                    f"Here it has: {', '.join(self.offered)}."
                )

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments, validated and complete.

        Raises:
            ArgumentError: an unknown name (the nearest valid one is given), a missing one, or an unusable value.
        """
        for name in arguments:
            if name not in self.parameters:
                raise ArgumentError(self._unknown(name, self.parameters))
        try:
            model = self._model.model_validate({name: self._parsed(name, arguments[name]) for name in arguments})
        except ValidationError as error:
            raise ArgumentError(_sentence(self.name, error)) from error
        return {name: getattr(model, name) for name in self.parameters}

    def facts(self) -> dict[str, Any]:
        """The tool as JSON-ready data, for the page that lists all: names, command line, hints, parameters."""
        parameters = described(self.command.parameters.values())
        return {
            "name": self.name,
            "title": self.title,
            "command": self.command_line,
            "usage": " ".join([self.command_line, "[OPTIONS]", *(one.word for one in parameters if one.is_word)]),
            "surface": self.surface,
            "toolset": self.toolset,
            "hints": self.hints,
            "paragraphs": [" ".join(paragraph.split()) for paragraph in self.description.split("\n\n")],
            "parameters": [one.row() for one in parameters],
        }

    def _unknown(self, name: str, known: Mapping[str, Any]) -> str:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        valid = ", ".join(known)
        return f"{self.name} has no argument {name!r}{f'; did you mean {near[0]!r}' if near else ''}? It has: {valid}."

    def _parsed(self, name: str, value: Any) -> Any:
        """Some clients send a list or a number as its JSON text, and a whole number as a float: that is understood."""
        wanted = self._model.model_fields[name].annotation
        is_list = get_origin(wanted) is tuple
        if isinstance(value, str) and (is_list or wanted in (bool, int, float)):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, float) and wanted is int and value.is_integer():
            return int(value)
        return tuple(value) if isinstance(value, list) and is_list else value


def _is_command_only(given: inspect.Parameter) -> bool:
    return CommandOnly in get_args(given.annotation)


def _sentence(tool: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{tool} needs the argument {place!r}."
    given = repr(first["input"])
    wrong = first["msg"].lower().replace("tuple", "list")
    return f"{tool}: {place} is {given if len(given) < 80 else given[:77] + '...'}; {wrong}."
