"""The one table of tools: what the server offers, the command line has under the same name.

To add a tool: write the function (typed parameters with descriptions, a flat `ToolResult`, `WorkbenchError` for what
can go wrong) and add its row here. Whoever calls fills in parameters called `root`, `report`, `progress`, `cancel`,
`resume_with` or `facts` (this table as plain data). A tool with a `foreground` starts a job on the server and does the
work itself on the command line.
"""

from __future__ import annotations

import difflib
import inspect
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, get_origin

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from agent_tools.records.errors import WorkbenchError
from agent_tools.results import ToolResult
from agent_tools.tool_parameters import described
from agent_tools.workflows import (
    comparing,
    demo,
    documents,
    gates,
    jobs,
    measuring,
    plans,
    profiling,
    records,
    records_entry,
    records_export,
    sessions,
    site,
    training,
    tuning,
)
from agent_tools.workspace import code_usages, git, hooks, search, sql, tests
from agent_tools.workspace.root import Root

INJECTED = ("root", "report", "progress", "cancel", "resume_with", "facts")

Surface = Literal["mcp", "cli", "hidden"]
"""`mcp`: server (where its toolset is served) and command line; `cli`: command line only; `hidden`: not in its help."""

Report = Callable[[float, float | None, str], Awaitable[None]]
Progress = Callable[[int, int, str], None]


class ArgumentError(WorkbenchError):
    """Arguments that a tool does not have, or values that it does not take."""


class UnknownTool(WorkbenchError):
    """No tool has this name; the sentence names the nearest."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True)
class Tool:
    """One row: a function, how it is announced, and where it is offered."""

    name: str
    function: Callable[..., Any]
    title: str
    read_only: bool
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False
    toolset: str = "default"
    surface: Surface = "mcp"
    foreground: Callable[..., Any] | None = None

    @property
    def command(self) -> Tool:
        """The tool as the command line has it."""
        return replace(self, function=self.foreground, foreground=None) if self.foreground else self

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
    def _model(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            name: (given.annotation, ... if given.default is given.empty else given.default)
            for name, given in self.parameters.items()
        }
        return create_model(f"{self.name}_arguments", __base__=_Arguments, **fields)

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments, validated and complete.

        Raises:
            ArgumentError: an unknown name (the nearest valid one is given), a missing one, or an unusable value.
        """
        for name in arguments:
            if name not in self.parameters:
                raise ArgumentError(self._unknown(name))
        try:
            model = self._model.model_validate({name: self._parsed(name, arguments[name]) for name in arguments})
        except ValidationError as error:
            raise ArgumentError(_sentence(self.name, error)) from error
        return {name: getattr(model, name) for name in self.parameters}

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.parameters, n=1, cutoff=0.4)
        valid = ", ".join(self.parameters)
        return f"{self.name} has no argument {name!r}{f'; did you mean {near[0]!r}' if near else ''}? It has: {valid}."

    def _parsed(self, name: str, value: Any) -> Any:
        """Some clients send a list as the text of a JSON list; where a list is wanted, that is understood."""
        if isinstance(value, str) and get_origin(self._model.model_fields[name].annotation) is tuple:
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value


def _sentence(tool: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{tool} needs the argument {place!r}."
    given = repr(first["input"])
    return f"{tool}: {place} is {given if len(given) < 80 else given[:77] + '...'}; {first['msg'].lower()}."


def find(name: str) -> Tool:
    """Return the tool of this name.

    Raises:
        UnknownTool: there is none; the nearest are named.
    """
    for tool in CATALOG:
        if tool.name == name:
            return tool
    near = difflib.get_close_matches(name, [tool.name for tool in CATALOG if tool.surface == "mcp"], n=3, cutoff=0.4)
    raise UnknownTool(f"There is no tool {name!r}; {_nearest(near)}.")


def _nearest(names: list[str]) -> str:
    return f"the nearest are {', '.join(names)}" if names else "tools/list names all"


def tool_facts() -> list[dict[str, Any]]:
    """Every tool as JSON-ready data, for the page that lists them: names, command line, hints, parameters."""
    return [_facts(tool) for tool in CATALOG]


def _facts(tool: Tool) -> dict[str, Any]:
    parameters = described(tool.command.parameters.values())
    command = " ".join(filter(None, ("agent-tools", tool.noun, tool.verb)))
    return {
        "name": tool.name,
        "title": tool.title,
        "command": command,
        "usage": " ".join([command, "[OPTIONS]", *(given.word for given in parameters if given.is_word)]),
        "surface": tool.surface,
        "toolset": tool.toolset,
        "hints": tool.hints,
        "paragraphs": [" ".join(paragraph.split()) for paragraph in tool.description.split("\n\n")],
        "parameters": [given.row() for given in parameters],
    }


async def call(
    tool: Tool,
    root: Root,
    arguments: Mapping[str, Any],
    report: Report | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    resume_with: Callable[[list[str]], None] | None = None,
) -> ToolResult:
    """Check the arguments and run the tool; a function that is not async runs on a thread.

    Args:
        tool: the row.
        root: what it works on.
        arguments: by name, as the caller gave them.
        report: takes progress inside of a call.
        progress: takes progress of work that runs in the foreground for minutes.
        cancel: ends such work once it is set.
        resume_with: told the words of the command that goes on with such work after an interruption.

    Raises:
        WorkbenchError: anything that the caller can understand and mend.
    """
    injected: dict[str, Any] = {
        "root": root,
        "report": report,
        "progress": progress,
        "cancel": cancel,
        "resume_with": resume_with,
    }
    known = tool.signature.parameters
    if "facts" in known:
        injected["facts"] = {"tools": tool_facts()}
    given = tool.check(arguments) | {name: value for name, value in injected.items() if name in known}
    if inspect.iscoroutinefunction(tool.function):
        result = await tool.function(**given)
    else:
        result = await anyio.to_thread.run_sync(partial(tool.function, **given))
    assert isinstance(result, ToolResult)  # noqa: S101 - the table's test holds every row to it
    return result


CATALOG: tuple[Tool, ...] = (
    Tool("train_run", training.train_run, "Start a training", read_only=False),
    Tool("config_show", training.config_show, "Show the resolved configuration", read_only=True, idempotent=True),
    Tool("features_check", training.features_check, "Check requested features", read_only=True, idempotent=True),
    Tool("bench_run", comparing.bench_run, "Start a benchmark", read_only=False),
    Tool(
        "bench_compare",
        comparing.bench_compare,
        "Compare two sides",
        read_only=False,
        open_world=True,
        foreground=comparing.compare_now,
    ),
    Tool("record_list", records.record_list, "List measured records", read_only=True, idempotent=True),
    Tool("record_show", records.record_show, "Show one record", read_only=True, idempotent=True),
    Tool("profile_run", measuring.profile_run, "Profile the stages of a run", read_only=False),
    Tool("job_status", jobs.job_status, "Show jobs", read_only=True, idempotent=True),
    Tool("job_cancel", jobs.job_cancel, "Cancel a job", read_only=False, destructive=True, idempotent=True),
    Tool("git_status", git.git_status, "Show uncommitted files", read_only=True, idempotent=True),
    Tool("git_diff", git.git_diff, "Show changes", read_only=True, idempotent=True),
    Tool("git_log", git.git_log, "List commits", read_only=True, idempotent=True),
    Tool("test_run", tests.run_tests, "Run tests", read_only=False, idempotent=True, open_world=True),
    Tool("docs_render", documents.docs_render, "Render documents from records", read_only=False, idempotent=True),
    Tool("docs_check", documents.docs_check, "Check documents against records", read_only=True, idempotent=True),
    Tool("session_start", sessions.session_start, "Start a session", read_only=False, open_world=True),
    Tool("session_note", sessions.session_note, "Write a note", read_only=False),
    Tool("session_handover", sessions.session_handover, "Hand a session over", read_only=False),
    Tool("code_search", search.code_search, "Search code", read_only=True, idempotent=True),
    Tool("bench_ladder", measuring.bench_ladder, "Measure a ladder here", read_only=False, surface="cli"),
    Tool("bench_bisect", comparing.bench_bisect, "Find the commit that made it slower", read_only=False, surface="cli"),
    Tool("bench_history", comparing.bench_history, "Measure a line of commits", read_only=False, surface="cli"),
    Tool("bench_check", comparing.bench_check, "Check against the accepted record", read_only=False, surface="cli"),
    Tool("bench_judge", comparing.bench_judge, "Judge the judge", read_only=False, surface="cli"),
    Tool("bench_tune", tuning.bench_tune, "Tune the settings here", read_only=False, surface="cli"),
    Tool("bench_gates", gates.bench_gates, "Measure and show the gates", read_only=False, surface="cli"),
    Tool("bench_fact", profiling.bench_fact, "Record figures of a command", read_only=False, surface="cli"),
    Tool("profile_stages", measuring.profile_stages, "Profile here", read_only=False, surface="cli"),
    Tool("profile_limit", profiling.profile_limit, "Measure the limit here", read_only=False, surface="cli"),
    Tool("profile_whatif", profiling.profile_whatif, "Measure what-if here", read_only=False, surface="cli"),
    Tool("profile_transforms", profiling.profile_transforms, "Time transforms", read_only=False, surface="cli"),
    Tool("job_resume", jobs.job_resume, "Go on with a job", read_only=False, surface="cli"),
    Tool("record_export", records_export.record_export, "Export raw samples as CSV", read_only=False, surface="cli"),
    Tool("record_import", records_entry.record_import, "Import another tool's report", read_only=False, surface="cli"),
    Tool("record_report", records_entry.record_report, "Enter a reported figure", read_only=False, surface="cli"),
    Tool("record_override", records_entry.record_override, "Override a recommendation", read_only=False, surface="cli"),
    Tool("plan_new", plans.plan_new, "Write a plan into the ledger", read_only=False, surface="cli"),
    Tool("hooks_install", hooks.hooks_install, "Install git hooks", read_only=False, idempotent=True, surface="cli"),
    Tool("sql_schema", sql.sql_schema, "Show tables", read_only=True, idempotent=True, toolset="sql"),
    Tool("sql_query", sql.sql_query, "Query records", read_only=True, idempotent=True, toolset="sql"),
    Tool("code_usages", code_usages.code_usages, "List uses", read_only=True, idempotent=True, toolset="search"),
    Tool("index_refresh", search.index_refresh, "Refresh index", read_only=False, idempotent=True, toolset="search"),
    Tool("session_checklist", sessions.session_checklist, "Check a session", read_only=True, surface="cli"),
    Tool("docs_build", site.docs_build, "Build the web page", read_only=False, idempotent=True, surface="cli"),
    Tool("docs_serve", site.docs_serve, "Serve the web page", read_only=True, surface="cli"),
    Tool("demo", demo.run_demo, "Show the project at work", read_only=False, surface="cli"),
    Tool("train_now", training.train_now, "Train here", read_only=False, surface="hidden"),
)
"""Every tool. Order is the order of the list that an assistant sees."""
